"""Scripts for shells that complete the words of a command line. bash and zsh share one, since zsh reads completions of bash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from debride.cli.completed_words import KnownWords, Option

_BASH = """\
# Completions of debride for bash and zsh. `debride completions bash` or `zsh` printed it.
if [[ -n ${ZSH_VERSION-} ]]; then
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
  autoload -Uz bashcompinit && bashcompinit
fi

_debride() {
  local cur="${COMP_WORDS[COMP_CWORD]}" verb="${COMP_WORDS[1]-}" flag="" method="" word="" at=0
  local takes="" values="" files="" flags="" words=""
  COMPREPLY=()
  if (( COMP_CWORD < 2 )); then
    COMPREPLY=( $(compgen -W "@VERBS --help --version" -- "$cur") )
    return
  fi
  for (( at = 2; at < COMP_CWORD; at++ )); do
    word="${COMP_WORDS[at]}"
    case "$word" in
      --) flag="" ;;
      -*) flag="$word" ;;
      *) [[ -z $method && " @METHODS " == *" $word "* ]] && method="$word" ;;
    esac
  done
  case "$verb" in
@FLAGS
  esac
  if [[ $verb == train ]]; then
    case "$method" in
@METHOD_FLAGS
    esac
  fi
  if [[ $cur == -* ]]; then
    COMPREPLY=( $(compgen -W "$flags" -- "$cur") )
    return
  fi
  if [[ -n $flag ]]; then
    case "$verb $flag" in
@TAKEN
    esac
    [[ $verb == train && -z $takes ]] && case "$method $flag" in
@METHOD_TAKEN
    esac
    [[ $takes == one && ${COMP_WORDS[COMP_CWORD-1]} != "$flag" ]] && takes=""
  fi
  if [[ -z $takes ]]; then
    files=1
    [[ $verb == train && -n $method ]] || values="$words"
  fi
  COMPREPLY=( $(compgen -W "$values" -- "$cur") )
  local IFS=$'\\n'
  [[ -n $files ]] && COMPREPLY+=( $(compgen -f -- "$cur") )
  return 0
}

complete -o filenames -F _debride debride
"""

_FISH = """\
# Completions of debride for fish. `debride completions fish` printed it.
function __debride_is
    set -l words (commandline -opc)
    test (count $words) -gt 1; or return 1
    test $words[2] = $argv[1]; or return 1
    set -q argv[2]; or return 0
    contains -- $argv[2] $words[3..-1]
end

function __debride_after
    set -l flags (string match -- '-*' (commandline -opc)[3..-1])
    test (count $flags) -gt 0; and contains -- $flags[-1] $argv
end

function __debride_no_method
    for word in (commandline -opc)[3..-1]
        contains -- $word @METHODS; and return 1
    end
    return 0
end

complete -c debride -e
complete -c debride -f -n 'test (count (commandline -opc)) -lt 2' -l help -d 'show a help message'
complete -c debride -f -n 'test (count (commandline -opc)) -lt 2' -l version -d 'show the version'
"""


def bash_script(known: KnownWords) -> str:
    """The script for bash and zsh."""
    flags = [
        f'    {name}) flags="{" ".join(_flags(verb.options))}"; words="{" ".join(verb.words)}" ;;'
        for name, verb in known.verbs.items()
    ]
    method_flags = [
        f'      {name}) flags+=" {" ".join(_flags(options))}" ;;' for name, options in known.methods.items() if options
    ]
    pieces = {
        "VERBS": " ".join(known.verbs),
        "METHODS": " ".join(known.methods),
        "FLAGS": "\n".join(flags),
        "METHOD_FLAGS": "\n".join(method_flags),
        "TAKEN": "\n".join(_taken({name: verb.options for name, verb in known.verbs.items()})),
        "METHOD_TAKEN": "\n".join(_taken(known.methods)),
    }
    script = _BASH
    for name in sorted(pieces, key=len, reverse=True):
        script = script.replace(f"@{name}", pieces[name])
    return script


def _flags(options: Iterable[Option]) -> Iterator[str]:
    return (flag for option in options for flag in option.flags)


def _taken(options: Mapping[str, Iterable[Option]]) -> Iterator[str]:
    """Cases of what follows a flag; places where the same follows share one."""
    places: dict[str, list[str]] = {}
    for name, some in options.items():
        for option in some:
            if option.takes != "none":
                said = "files=1" if option.values is None else f'values="{" ".join(option.values)}"'
                places.setdefault(f"takes={option.takes}; {said}", []).extend(f'"{name} {flag}"' for flag in option.flags)
    return (f"      {' | '.join(where)}) {said} ;;" for said, where in places.items())


def fish_script(known: KnownWords) -> str:
    """The script for fish."""
    lines = [_FISH.replace("@METHODS", " ".join(known.methods))]
    for name, verb in known.verbs.items():
        lines.append(f"complete -c debride -f -n 'test (count (commandline -opc)) -lt 2' -a {name} -d '{_quiet(verb.about)}'\n")
        if verb.words:
            condition = f"__debride_is {name}{'; and __debride_no_method' if name == 'train' else ''}"
            lines.append(f"complete -c debride -n '{condition}' -a '{' '.join(verb.words)}'\n")
        lines += (_fish_option(f"__debride_is {name}", option) for option in verb.options)
    for name, options in known.methods.items():
        lines += (_fish_option(f"__debride_is train {name}", option) for option in options)
    return "".join(lines)


def _fish_option(condition: str, option: Option) -> str:
    names = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    takes = "" if option.takes == "none" else " -r -F" if option.values is None else f" -x -a '{' '.join(option.values)}'"
    line = f"complete -c debride -n '{condition}' {names}{takes} -d '{_quiet(option.about)}'\n"
    if option.takes == "some" and option.values:
        after = f"{condition}; and __debride_after {' '.join(option.flags)}"
        line += f"complete -c debride -n '{after}' -a '{' '.join(option.values)}'\n"
    return line


def _quiet(text: str) -> str:
    return text.replace("'", "").replace("\\", "")
