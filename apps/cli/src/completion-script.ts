// Completion scripts, written out of the program itself, so that they know every command and option.
// Hides what each shell wants to be told, and how.
import type { Command, Option } from 'commander'

export const SHELLS = ['bash', 'zsh', 'fish'] as const

/** The script for a shell. */
export function completionScript(shell: (typeof SHELLS)[number], program: Command): string {
  return { bash, zsh, fish }[shell](program)
}

function bash(program: Command): string {
  const cases = program.commands.map(
    (command) => `    ${command.name()}) words="${[...flagsOf(command), ...flagsOf(program)].join(' ')}" ;;`,
  )
  return `_fab_workflow() {
  local current="\${COMP_WORDS[COMP_CWORD]}" words
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
    *) words="${[...namesOf(program), ...flagsOf(program)].join(' ')}" ;;
  esac
  COMPREPLY=()
  if [[ $current == -* || $COMP_CWORD -eq 1 ]]; then COMPREPLY=($(compgen -W "$words" -- "$current")); fi
  if [[ \${#COMPREPLY[@]} -eq 0 ]]; then COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o filenames -F _fab_workflow fab-workflow`
}

function zsh(program: Command): string {
  const described = (name: string, text: string) => `    '${name}:${single(text).replaceAll(':', '\\:')}'`
  const commands = program.commands.map((command) => described(command.name(), command.description()))
  const flags = (command: Command) => command.options.map(({ long, description }) => described(long ?? '', description))
  const cases = program.commands.map(
    (command) => `    ${command.name()}) options+=(\n${flags(command).join('\n')}\n    ) ;;`,
  )
  return `#compdef fab-workflow
_fab_workflow() {
  local -a commands options
  commands=(
${commands.join('\n')}
  )
  options=(
${flags(program).join('\n')}
  )
  case "$words[2]" in
${cases.join('\n')}
  esac
  if [[ $PREFIX == -* ]]; then _describe option options
  elif (( CURRENT == 2 )); then _describe command commands; _files
  else _files
  fi
}
compdef _fab_workflow fab-workflow`
}

function fish(program: Command): string {
  const names = namesOf(program).join(' ')
  const line = (condition: string, { long, short, required, description }: Option) => {
    const flags = [
      ` -l ${long?.replace('--', '')}`,
      short ? ` -s ${short.replace('-', '')}` : '',
      required ? ' -r' : '',
    ]
    return `complete -c fab-workflow${condition}${flags.join('')} -d '${single(description)}'`
  }
  const commands = program.commands.map(
    (command) =>
      `complete -c fab-workflow -n "not __fish_seen_subcommand_from ${names}" -a ${command.name()} -d '${single(command.description())}'`,
  )
  const own = program.commands.flatMap((command) =>
    command.options.map((option) => line(` -n "__fish_seen_subcommand_from ${command.name()}"`, option)),
  )
  return [...commands, ...program.options.map((option) => line('', option)), ...own].join('\n')
}

function namesOf(program: Command): string[] {
  return program.commands.map((command) => command.name())
}

function flagsOf(command: Command): string[] {
  return command.options.flatMap(({ short, long }) => [short, long]).filter((flag) => typeof flag === 'string')
}

/** Text for single quotes, without what would end them. */
function single(text: string): string {
  return text.replaceAll("'", '’')
}
