# bash completion for nydus-auth-agent
# To use it: nydus-auth-agent show completion.bash > /etc/bash_completion.d/nydus-auth-agent

_nydus_auth_agent() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command="" i
  local config="--config --snapshotter-config --root --system-address --fs-driver --daemon-mode
    --check-interval --lead-time --refresh-interval --credential-renewal-interval --config-files
    --verify --docker-config --credential-provider-config --credential-provider-bin-dir --kubeconfig
    --address --api-socket --log-level --log-format"
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == -* ]] || { command=${COMP_WORDS[i]}; break; }
  done
  case $before in
    --config | --snapshotter-config | --system-address | --docker-config | --api-socket | \
      --credential-provider-config | --kubeconfig | --kubelet-config)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
    --root | --prefix | --credential-provider-bin-dir | --kubelet-bin-dir)
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return
      ;;
  esac
  local words
  case $before in
    --output) words="text json" ;;
    --fs-driver) words="fusedev fscache blockdev nodev proxy" ;;
    --daemon-mode) words="dedicated multiple shared none" ;;
    --config-files) words="auto always never" ;;
    --verify) words="never on-doubt on-change" ;;
    --log-level) words="debug info warning error" ;;
    --log-format) words="text json" ;;
    *)
      case $command in
        "") words="run get explain check status renew log-level tap demo docker-credential"
          words="$words show install uninstall version help --help --version" ;;
        run) words="$config --help" ;;
        check) words="$config --probe --help" ;;
        get) words="$config --valid-for --label --output --help" ;;
        explain)
            words="$config --valid-for --label --output --as-kubelet --kubelet-config"
            words="$words --kubelet-bin-dir --help"
            ;;
        status) words="$config --output --watch --if-source-down --help" ;;
        demo | version) words="--output --help" ;;
        renew) words="$config --all --output --help" ;;
        log-level) words="$config get set debug info warning error --help" ;;
        tap) words="$config on off status --help" ;;
        docker-credential) words="get list store erase --help" ;;
        install) words="--prefix --root --dry-run --docker-credential-helper --now --help" ;;
        uninstall) words="--prefix --root --dry-run --purge --help" ;;
        show)
          words="config.toml nydus-auth-agent.service nydus-auth-agent-own-user.service nydus-auth-agent.tmpfiles.conf
            credential-provider-config.yaml daemonset.yaml prometheus-rules.yaml
            grafana-dashboard.json manual nydus-auth-agent.1 completion.bash completion.zsh
            completion.fish --help"
          ;;
      esac
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _nydus_auth_agent nydus-auth-agent
