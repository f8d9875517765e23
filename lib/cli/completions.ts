import type { Argument, Command, Option } from "commander";

/** Shells with a completion script. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

/** One of {@linkcode SHELLS}. */
export type Shell = typeof SHELLS[number];

/** Values of an option: a list of words, a path, or any text. */
type Values = readonly string[] | "file" | "folder" | "any";

interface Flag {
  readonly name: string;
  readonly description: string;
  /** Undefined for a flag without a value. */
  readonly values?: Values;
}

interface Entry {
  readonly name: string;
  readonly description: string;
  readonly flags: readonly Flag[];
  /** Arguments that are completed. */
  readonly words: readonly string[];
}

/**
 * Generates the completion script for a shell from the command definitions.
 *
 * @param texts Arguments of `show`, which are not part of its definition.
 */
export function completionScript(program: Command, shell: Shell, texts: readonly string[]): string {
  const visible = program.createHelp().visibleCommands(program);
  const names = visible.map((command) => command.name()).filter((name) => name !== "help");
  const extra: Readonly<Record<string, readonly string[]>> = {
    "show": texts,
    "help": names,
    "docker-credential": ["get", "list", "store", "erase", "version"],
  };
  const entries = visible.map((command) => {
    const entry = entryOf(command);
    return { ...entry, words: extra[entry.name] ?? entry.words };
  });
  return SCRIPTS[shell](program.name(), entries);
}

const SCRIPTS: Readonly<Record<Shell, (name: string, entries: readonly Entry[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

const HELP: Flag = { name: "help", description: "Show help" };
const VERSION: Flag = { name: "version", description: "Print the version" };

function entryOf(command: Command): Entry {
  return {
    name: command.name(),
    description: command.description().replace(/\.$/, ""),
    flags: [...command.options.flatMap(flagOf), HELP],
    words: command.registeredArguments.flatMap(choicesOf),
  };
}

function flagOf({ long, flags, description, argChoices }: Option): Flag[] {
  if (!long) return [];
  const name = long.slice(2);
  const placeholder = /[<[]([^>\]]+)[>\]]$/.exec(flags)?.[1];
  const text = description.split(/[.(;:]/)[0]?.trim() ?? "";
  if (placeholder === undefined) return [{ name, description: text }];
  return [{ name, description: text, values: argChoices ?? valuesOf(placeholder) }];
}

function valuesOf(placeholder: string): Values {
  if (placeholder.includes("|")) return placeholder.split("|");
  if (/file|path|socket/.test(placeholder)) return "file";
  return /folder|dir/.test(placeholder) ? "folder" : "any";
}

function choicesOf({ argChoices }: Argument): readonly string[] {
  return argChoices ?? [];
}

/** Handles `--flag value` and `--flag=value`, which readline splits at the equals sign. */
function bashScript(program: string, entries: readonly Entry[]): string {
  const fn = `_${program.replaceAll("-", "_")}`;
  const flags = distinct(entries.flatMap((entry) => entry.flags));
  const ofKind = (kind: Values) =>
    flags.filter(({ values }) => values === kind).map(({ name }) => `--${name}`).join(" | ");
  const choices = flags.flatMap(({ name, values }) =>
    typeof values === "object" ? [`    --${name}) words="${values.join(" ")}" ;;`] : []
  );
  const any = ofKind("any");
  return `# bash completion for ${program}
# Install: ${program} show completion.bash > /etc/bash_completion.d/${program}

${fn}() {
  local word=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ \${COMP_WORDS[i]} == -* ]] || { command=\${COMP_WORDS[i]}; break; }
  done
  if [[ $word == "=" ]]; then word=""; elif [[ $previous == "=" ]]; then previous=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  COMPREPLY=()
  case $previous in
    ${ofKind("file")})
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
    ${ofKind("folder")})
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return
      ;;
${choices.join("\n")}
${any === "" ? "" : `    ${any}) return ;;\n`}    *)
      case $command in
        "") words="${entries.map(({ name }) => name).join(" ")} --help --version" ;;
${entries.map(bashWords).join("\n")}
      esac
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F ${fn} ${program}
`;
}

function bashWords({ name, flags, words }: Entry): string {
  const offered = [...words, ...flags.map((flag) => `--${flag.name}`)];
  return `        ${name}) words="${offered.join(" ")}" ;;`;
}

function zshScript(program: string, entries: readonly Entry[]): string {
  const fn = `_${program.replaceAll("-", "_")}`;
  const commands = entries.map(({ name, description }) => `    '${name}:${quoted(description)}'`);
  const cases = entries.map(({ name, flags, words }) => {
    const specs = flags.map((flag) => `          '${zshFlag(flag)}'`);
    if (words.length > 0) specs.unshift(`          '1:value:(${words.join(" ")})'`);
    return `        ${name})\n          _arguments \\\n  ${specs.join(" \\\n  ")}\n          ;;`;
  });
  return `#compdef ${program}
# zsh completion for ${program}
# Install: ${program} show completion.zsh > FOLDER/_${program}, for a FOLDER of $fpath

${fn}() {
  local context state state_descr line
  typeset -A opt_args
  local -a commands
  commands=(
${commands.join("\n")}
  )
  _arguments -C '--help[Show help]' '--version[Print the version]' \\
    '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $words[1] in
${cases.join("\n")}
      esac
      ;;
  esac
}
compdef ${fn} ${program}
`;
}

function zshFlag({ name, description, values }: Flag): string {
  const spec = `--${name}[${quoted(description).replaceAll(/[[\]]/g, "\\$&")}]`;
  if (values === undefined) return spec;
  if (values === "any") return `${spec}:value:`;
  if (values === "file") return `${spec}:file:_files`;
  return values === "folder" ? `${spec}:folder:_files -/` : `${spec}:value:(${values.join(" ")})`;
}

function fishScript(program: string, entries: readonly Entry[]): string {
  const names = entries.map(({ name }) => name).join(" ");
  const lines = [HELP, VERSION].map((flag) => `complete -c ${program} ${fishFlag(flag)}`);
  for (const { name, description } of entries) {
    const text = quoted(description);
    lines.push(`complete -c ${program} -n __fish_use_subcommand -a ${name} -d '${text}'`);
  }
  for (const { name, flags, words } of entries) {
    const start = `complete -c ${program} -n '__fish_seen_subcommand_from ${name}'`;
    for (const flag of flags) if (flag !== HELP) lines.push(`${start} ${fishFlag(flag)}`);
    if (words.length > 0) lines.push(`${start} -a '${words.join(" ")}'`);
  }
  return `# fish completion for ${program}: ${names}
# Install: ${program} show completion.fish > ~/.config/fish/completions/${program}.fish
complete -c ${program} -f
${lines.join("\n")}
`;
}

function fishFlag({ name, description, values }: Flag): string {
  const text = `-l ${name} -d '${quoted(description)}'`;
  if (values === undefined) return text;
  if (values === "file") return `${text} -r -F`;
  if (values === "folder") return `${text} -x -a '(__fish_complete_directories)'`;
  return values === "any" ? `${text} -x` : `${text} -x -a '${values.join(" ")}'`;
}

/** Escapes text for single quotes, without backticks. */
function quoted(text: string): string {
  return text.replaceAll("`", "").replaceAll("'", "’").replaceAll(":", ",");
}

function distinct(flags: readonly Flag[]): Flag[] {
  return [...new Map(flags.map((flag) => [flag.name, flag])).values()];
}
