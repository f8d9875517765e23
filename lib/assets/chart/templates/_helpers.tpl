{{- define "agent.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "agent.selector" -}}
app.kubernetes.io/name: nydus-auth-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "agent.labels" -}}
{{ include "agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "agent.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" if the agent calls the Kubernetes API. */}}
{{- define "agent.usesApi" -}}
{{- with .Values.providers -}}
{{- if or .kubesecret.enabled (and .kubelet.enabled .kubelet.serviceAccountTokens) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Host paths as YAML: path → whether it is writable, and its type. */}}
{{- define "agent.hostPaths" -}}
{{- $paths := dict -}}
{{- with .Values.snapshotter -}}
{{- $_ := set $paths .root (dict "write" true "propagation" true "type" "DirectoryOrCreate") -}}
{{- $_ := set $paths .runFolder (dict "write" true "type" "DirectoryOrCreate") -}}
{{- if .configFolder -}}
{{- $_ := set $paths .configFolder (dict "type" "DirectoryOrCreate") -}}
{{- end -}}
{{- end -}}
{{- with .Values.providers.docker -}}
{{- if .enabled -}}{{- $_ := set $paths .folder (dict "type" "DirectoryOrCreate") -}}{{- end -}}
{{- end -}}
{{- with .Values.providers.kubelet -}}
{{- if .enabled -}}
{{- $file := regexMatch "\\.(json|ya?ml)$" .config -}}
{{- $config := .configMount | default (ternary (dir .config) .config $file) -}}
{{- range concat (list $config .binFolder) .hostPaths -}}
{{- $_ := set $paths . (dict "type" "") -}}
{{- end -}}
{{- if ne $config .binFolder -}}
{{- if hasPrefix (printf "%s/" $config) .binFolder -}}{{- $_ := unset $paths .binFolder -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.apiOnHost -}}
{{- $_ := set $paths "/run/nydus-auth-agent" (dict "write" true "type" "DirectoryOrCreate") -}}
{{- end -}}
{{- toYaml $paths -}}
{{- end -}}

{{/* Name of the volume of a host path. */}}
{{- define "agent.volumeName" -}}
{{- $name := . | lower | replace "." "-" | replace "_" "-" | replace "/" "-" | trimAll "-" -}}
{{- if gt (len $name) 63 -}}
{{- printf "%s-%s" ($name | trunc 54) (sha256sum $name | trunc 8) -}}
{{- else -}}
{{- regexReplaceAll "-+" $name "-" -}}
{{- end -}}
{{- end -}}
