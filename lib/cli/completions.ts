import type { Command, Option } from "commander";

/** Printed in place of words for a value that is a path. */
const PATHS = ":path";

/**
 * Returns the words that complete the last one of a command line, without the program's name.
 *
 * @param texts Arguments of `show`, which are not part of its definition.
 */
export function completionsOf(
  program: Command,
  line: readonly string[],
  texts: readonly string[],
): readonly string[] {
  // Readline splits `--flag=value` at the equals sign.
  const words = line.at(-1) === "=" ? [...line, ""] : line;
  const [last = "", ...before] = words.toReversed();
  const isSplit = before[0] === "=";
  const previous = before[isSplit ? 1 : 0] ?? "";
  const command = program.commands.find((one) => words.slice(0, -1).includes(one.name()));
  const options = command?.options ?? program.options;
  const inline = /^(--[a-z-]+)=(.*)$/.exec(last);
  const option = options.find(({ long, short, required }) =>
    required && [long, short].includes(inline?.[1] ?? previous)
  );
  if (option !== undefined) {
    const values = valuesOf(option);
    if (values.includes(PATHS)) return values;
    const start = inline === null ? "" : `${inline[1]}=`;
    return values.map((value) => `${start}${value}`).filter((value) => value.startsWith(last));
  }
  const visible = program.createHelp().visibleCommands(program).map((one) => one.name());
  const named: Readonly<Record<string, readonly string[]>> = { show: texts, help: visible };
  const choices = command?.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []);
  const offered = command === undefined ? visible : named[command.name()] ?? choices ?? [];
  const flags = options.filter(({ hidden }) => !hidden).flatMap(({ long }) => long ?? []);
  return [...offered, ...flags, "--help"].filter((word) => word.startsWith(last));
}

function valuesOf({ flags, argChoices }: Option): readonly string[] {
  const placeholder = /<([^>]+)>$/.exec(flags)?.[1] ?? "";
  if (argChoices !== undefined) return argChoices;
  if (placeholder.includes("|")) return placeholder.split("|");
  return /file|path|folder/.test(placeholder) ? [PATHS] : [];
}

/** The completion scripts, by shell; they call the program. */
export const COMPLETION_SCRIPTS: Readonly<Record<string, string>> = {
  bash: `# bash completion for nydus-auth-agent
# Install: nydus-auth-agent show completion.bash > /etc/bash_completion.d/nydus-auth-agent
_nydus_auth_agent() {
  local word=\${COMP_WORDS[COMP_CWORD]}
  mapfile -t COMPREPLY < <("\${COMP_WORDS[0]}" complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [[ \${COMPREPLY[0]} == ${PATHS} ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "\${word#=}")
  fi
}
complete -F _nydus_auth_agent nydus-auth-agent
`,
  zsh: `#compdef nydus-auth-agent
# zsh completion for nydus-auth-agent
# Install: nydus-auth-agent show completion.zsh > FOLDER/_nydus-auth-agent, for a FOLDER of $fpath
_nydus_auth_agent() {
  local -a found
  found=(\${(f)"$($words[1] complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)"})
  if [[ $found[1] == ${PATHS} ]]; then _files; else compadd -a found; fi
}
compdef _nydus_auth_agent nydus-auth-agent
`,
  fish: `# fish completion for nydus-auth-agent
# Install: nydus-auth-agent show completion.fish > ~/.config/fish/completions/nydus-auth-agent.fish
function __nydus_auth_agent
  set -l words (commandline -opc) (commandline -ct)
  set -l found ($words[1] complete -- $words[2..] 2>/dev/null)
  if test "$found[1]" = ${PATHS}
    __fish_complete_path (commandline -ct)
  else
    string join \\n -- $found
  end
end
complete -c nydus-auth-agent -f -a '(__nydus_auth_agent)'
`,
};
