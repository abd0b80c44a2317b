"""The scripts of ``nutcracker completion``."""

from collections.abc import Iterable, Iterator
from typing import Final

from twemproxy.commands.grammar import Command, Grammar, Option

_BASH: Final = """\
# Completion of nutcracker for bash, written by nutcracker completion bash.
_nutcracker() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    # bash makes a word of the = in --option=value.
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    local options paths values words='' files=''
    case ${{COMP_WORDS[1]}} in
{commands}
        *)
            options='{start.options}' paths=' {start.paths} ' values=' {start.values} '
            if [[ $COMP_CWORD -eq 1 ]]; then words='{names}'; fi
            ;;
    esac
    if [[ $COMP_CWORD -eq 1 ]]; then
        options='{start.options}' words='{names}' files=''
    fi
    if [[ $paths == *" $previous "* ]]; then
        words='' files=yes
    elif [[ $values == *" $previous "* ]]; then
        words='' files=''
    elif [[ $current == -* ]]; then
        words=$options files=''
    fi
    if [[ $files ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    fi
}}
complete -F _nutcracker nutcracker
"""

_BASH_COMMAND: Final = """\
        {name})
            options='{words.options}' paths=' {words.paths} ' values=' {words.values} '
            words='{arguments}' files={files}
            ;;
"""

_ZSH: Final = """\
#compdef nutcracker
# Completion of nutcracker for zsh, written by nutcracker completion zsh.
_nutcracker() {{
    local -a commands
    commands=(
{commands}
    )
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
        _describe sub-command commands
        return
    fi
    local command=$words[2]
    if (( CURRENT > 2 )) && (( ${{commands[(I)$command:*]}} )); then
        shift words
        (( CURRENT-- ))
    fi
    case $command in
{cases}
        *)
            _arguments -s \\
{start}
            ;;
    esac
}}
if [[ $funcstack[1] == _nutcracker ]]; then
    _nutcracker "$@"
else
    compdef _nutcracker nutcracker
fi
"""


class _Words:
    """The options of a command, as lists of words: all, those with a path, those with another argument."""

    def __init__(self, options: Iterable[Option]) -> None:
        found = list(options)
        self.options = _names(found)
        self.paths = _names(option for option in found if option.is_path)
        self.values = _names(option for option in found if option.argument and not option.is_path)


def bash(grammar: Grammar) -> str:
    """Return the script for bash."""
    commands = "".join(
        _BASH_COMMAND.format(
            name=command.name,
            words=_Words(command.options),
            arguments=" ".join(command.words),
            files="yes" if command.takes_path else "''",
        )
        for command in grammar.commands
    )
    names = " ".join(command.name for command in grammar.commands)
    return _BASH.format(commands=commands.rstrip("\n"), start=_Words(grammar.start.options), names=names)


def zsh(grammar: Grammar) -> str:
    """Return the script for zsh."""
    cases = []
    for command in grammar.commands:
        lines = [*_zsh_options(command.options), *_zsh_arguments(command)]
        cases.append(f"        {command.name})\n            _arguments -s \\\n{_joined(lines)}\n            ;;")
    return _ZSH.format(
        commands="\n".join(f"        {_quoted(f'{one.name}:{one.help}')}" for one in grammar.commands),
        cases="\n".join(cases),
        start=_joined(_zsh_options(grammar.start.options)),
    )


def fish(grammar: Grammar) -> str:
    """Return the script for fish."""
    lines = ["# Completion of nutcracker for fish, written by nutcracker completion fish.", "complete -c nutcracker -f"]
    for command in grammar.commands:
        lines.append(f"complete -c nutcracker -n __fish_use_subcommand -a {command.name} -d {_quoted(command.help)}")
    names = " ".join(command.name for command in grammar.commands)
    # fish has no option that ends the start of a proxy: its options go with no sub-command.
    lines += _fish_options(f"not __fish_seen_subcommand_from {names}", grammar.start.options)
    for command in grammar.commands:
        seen = f"__fish_seen_subcommand_from {command.name}"
        lines += _fish_options(seen, command.options)
        if command.takes_path:
            lines.append(f"complete -c nutcracker -n {_quoted(seen)} -F")
        if command.words:
            lines.append(f"complete -c nutcracker -n {_quoted(seen)} -a {_quoted(' '.join(command.words))}")
    return "\n".join(lines) + "\n"


def _zsh_options(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        text = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
        argument = f":{option.argument}:{'_files' if option.is_path else '()'}" if option.argument else ""
        others = " ".join(option.names)
        for name in option.names:
            ending = "=" if argument and name.startswith("--") else ""
            yield f"{_quoted(f'({others}){name}{ending}[{text}]{argument}')}"


def _zsh_arguments(command: Command) -> Iterator[str]:
    if command.words:
        yield _quoted(f"*:word:({' '.join(command.words)})")
    elif command.arguments:
        yield _quoted("*:file:_files" if command.takes_path else "*:argument:()")


def _fish_options(condition: str, options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
        argument = " -r -F" if option.is_path else " -x" if option.argument else ""
        yield f"complete -c nutcracker -n {_quoted(condition)} {names}{argument} -d {_quoted(option.help)}"


def _names(options: Iterable[Option]) -> str:
    return " ".join(name for option in options for name in option.names)


def _joined(lines: Iterable[str]) -> str:
    return " \\\n".join(f"                {line}" for line in lines)


def _quoted(text: str) -> str:
    """Return a text in single quotes, as all three shells read it."""
    return "'" + text.replace("'", "'\\''") + "'"
