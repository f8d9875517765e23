#compdef nydus-auth-agent
# zsh completion for nydus-auth-agent
# To use it: nydus-auth-agent show completion.zsh > a folder of $fpath, as _nydus-auth-agent

_nydus_auth_agent() {
  local context state state_descr line
  typeset -A opt_args
  local -a commands texts config asking
  commands=(
    'run:run the agent until it is told to stop'
    'get:print the credential for an image'
    'explain:tell what every provider answers for an image, and why'
    'check:read everything that run would, and say what is wrong'
    'status:ask the running agent how it stands'
    'renew:ask the sources of an image, or of all, now'
    'log-level:tell or change what the running agent writes'
    'tap:put the CRI tap into the path of pulls, or take it out'
    'demo:show the main job on a simulated node'
    'docker-credential:answer as a docker credential helper'
    'show:print a text that the program carries'
    'install:put the program, its unit and a configuration in place'
    'uninstall:take them away again'
    'version:print the version, and what it was built from'
    'help:tell about a command'
  )
  texts=(config.toml nydus-auth-agent.service nydus-auth-agent-own-user.service
    nydus-auth-agent.tmpfiles.conf credential-provider-config.yaml daemonset.yaml
    prometheus-rules.yaml grafana-dashboard.json manual nydus-auth-agent.1 completion.bash completion.zsh completion.fish)
  config=(
    '--config[our configuration file]:file:_files'
    '--snapshotter-config[configuration file of the snapshotter]:file:_files'
    '--root[root folder of the snapshotter]:folder:_files -/'
    '--system-address[socket of the system API]:socket:_files'
    '--fs-driver[driver]:driver:(fusedev fscache blockdev nodev proxy)'
    '--daemon-mode[mode]:mode:(dedicated multiple shared none)'
    '--check-interval[how often to compare]:duration:'
    '--lead-time[how long before the end to renew]:duration:'
    '--refresh-interval[how often to ask when no end is known]:duration:'
    '--credential-renewal-interval[one setting for the three]:duration:'
    '--config-files[rewrite configuration files]:when:(auto always never)'
    '--verify[ask the registry itself]:when:(never on-doubt on-change)'
    '--docker-config[docker configuration file]:file:_files'
    '--credential-provider-config[configuration of the kubelet plugins]:file:_files'
    '--credential-provider-bin-dir[folder of the kubelet plugins]:folder:_files -/'
    '--kubeconfig[kubeconfig]:file:_files'
    '--address[where metrics and health are served]:address:'
    '--api-socket[socket of the local API]:socket:_files'
    '--log-level[level]:level:(debug info warning error)'
    '--log-format[form]:form:(text json)'
  )
  asking=(
    '1:image reference:'
    '--valid-for[how long it must live]:duration:'
    '*--label[label of the snapshot]:key=value:'
    '--output[form of the answer]:form:(text json)'
  )
  _arguments -C '--help[tell what there is]' '--version[print the version]' '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $words[1] in
        run) _arguments $config '--help[tell about it]' ;;
        check) _arguments $config '--probe[ask the registry itself]:image:' '--help[tell about it]' ;;
        explain)
          _arguments '--as-kubelet[also as the kubelet of this node would]' \
            '--kubelet-config[the plugin configuration of the kubelet]:file:_files' \
            '--kubelet-bin-dir[the plugin folder of the kubelet]:folder:_files -/' \
            $asking $config '--help[tell about it]'
          ;;
        get) _arguments $asking $config '--help[tell about it]' ;;
        status)
          _arguments '--output[form]:form:(text json)' '--watch[show it again]' \
            '--if-source-down[what if no source answers, so long]:duration:' $config \
            '--help[tell about it]'
          ;;
        renew)
          _arguments '1:image reference:' '--all[every image that is mounted]' \
            '--output[form]:form:(text json)' $config '--help[tell about it]'
          ;;
        log-level)
          _arguments '1:action:(get set)' '2:level:(debug info warning error)' $config \
            '--help[tell about it]'
          ;;
        tap) _arguments '1:action:(on off status)' $config '--help[tell about it]' ;;
        demo | version) _arguments '--output[form]:form:(text json)' '--help[tell about it]' ;;
        install)
          _arguments '--prefix[folder above bin]:folder:_files -/' \
            '--root[folder that stands for /]:folder:_files -/' \
            '--dry-run[only say what would be done]' \
            '--docker-credential-helper[make the link for docker]' \
            '--now[enable and start the service]' '--help[tell about it]'
          ;;
        uninstall)
          _arguments '--prefix[folder above bin]:folder:_files -/' \
            '--root[folder that stands for /]:folder:_files -/' \
            '--dry-run[only say what would be done]' \
            '--purge[remove the configuration too]' '--help[tell about it]'
          ;;
        show) _arguments "1:text:($texts)" '--help[tell about it]' ;;
      esac
      ;;
  esac
}

_nydus_auth_agent "$@"
