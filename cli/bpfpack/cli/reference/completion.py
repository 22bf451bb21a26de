"""Completion scripts of shells: static, but for the packages of the local store.

Each script walks the words so far to find the command, and offers its commands, its options,
the choices of an option, files, directories or references.  Nothing is run but `bpfpack list`,
and that only where a reference is due.
"""

from collections.abc import Callable, Iterator
from typing import Final

from bpfpack.cli.reference.pages import Page, Switch


def bash(pages: tuple[Page, ...]) -> str:
    """For bash 4.2 or later, without bash-completion."""
    return _script(_BASH, pages, "words", _words)


def zsh(pages: tuple[Page, ...]) -> str:
    """For zsh's completion system: a function file called ``_bpfpack``."""
    return _script(_ZSH, pages, "words_", lambda page: map(_quoted, _described(page)))


def _script(
    template: "_Template",
    pages: tuple[Page, ...],
    array: str,
    words: Callable[[Page], Iterator[str]],
) -> str:
    """What bash and zsh have in common; ``array`` is where their script looks for words."""
    return template.substitute(
        parents=_parents(pages),
        paths=" | ".join(f"'{_path(page)}'" for page in pages if page.words),
        valued=_cases(pages, _valued_pattern),
        words=_cases(pages, lambda page: f"{array}=({' '.join(words(page))})"),
        values=_value_cases(pages, array),
        operands=_cases(pages, lambda page: f"kind={_operand_kind(page)}"),
    )


def fish(pages: tuple[Page, ...]) -> str:
    """For fish 3 or later."""
    lines = [
        _FISH.substitute(
            paths=" ".join(_path(page) for page in pages if page.words),
            valued=" ".join(f"{_path(page)}:{s}" for page in pages for s in _valued(page)),
        )
    ]
    for page in pages:
        lines += _fish_page(page)
    return "\n".join(lines) + "\n"


SCRIPTS: Final[dict[str, Callable[[tuple[Page, ...]], str]]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
}


def _path(page: Page) -> str:
    """The words of a command as one: ``/trust/add``; nothing for bpfpack itself."""
    return "".join(f"/{word}" for word in page.words)


def _parents(pages: tuple[Page, ...]) -> str:
    """The commands that have commands."""
    return " ".join(f"{_path(page)}/" for page in pages if page.children)


def _cases(pages: tuple[Page, ...], action: Callable[[Page], str]) -> str:
    return "\n".join(f"        '{_path(page)}') {action(page)} ;;" for page in pages)


def _valued_pattern(page: Page) -> str:
    return f"valued=' {' '.join(_valued(page))} '"


def _valued(page: Page) -> Iterator[str]:
    """The options that take the next word."""
    for switch in page.switches:
        if switch.metavar:
            yield from switch.spellings


def _words(page: Page) -> Iterator[str]:
    yield from (word for word, _ in page.children)
    for switch in page.switches:
        yield from switch.spellings


def _described(page: Page) -> Iterator[str]:
    """Words with what they mean, as `_describe` takes them."""
    yield from (f"{word}:{_colon(line)}" for word, line in page.children)
    for switch in page.switches:
        yield from (f"{spelling}:{_colon(switch.help)}" for spelling in switch.spellings)


def _colon(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _value_cases(pages: tuple[Page, ...], array: str) -> str:
    """What comes after an option, where that is more than a word of the user's."""
    lines = []
    for page in pages:
        for switch in page.switches:
            if switch.metavar and (switch.choices or switch.kind != "word"):
                pattern = " | ".join(f"'{_path(page)} {s}'" for s in switch.spellings)
                choices = f"{array}=({' '.join(switch.choices)})"
                action = choices if switch.choices else f"kind={switch.kind}"
                lines.append(f"        {pattern}) {action} ;;")
    return "\n".join(lines)


def _operand_kind(page: Page) -> str:
    """What the first operand stands for; the others are of the same kind, or a word."""
    return page.operands[0].kind if page.operands else "word"


def _fish_page(page: Page) -> Iterator[str]:
    at = f"complete -c bpfpack -n '__bpfpack_at \"{_path(page)}\"'"
    for word, line in page.children:
        yield f"{at} -f -a {word} -d {_fish_quoted(line)}"
    for switch in page.switches:
        yield f"{at} {' '.join(_fish_switch(switch))} -d {_fish_quoted(switch.help)}"
    kind = _operand_kind(page)
    if kind == "reference":
        yield f"{at} -f -a '(__bpfpack_references)'"
    elif kind == "directory":
        yield f"{at} -f -a '(__fish_complete_directories)'"
    elif kind == "word":
        yield f"{at} -f"


def _fish_switch(switch: Switch) -> Iterator[str]:
    for spelling in switch.spellings:
        yield f"-l {spelling[2:]}" if spelling.startswith("--") else f"-s {spelling[1:]}"
    if switch.choices:
        yield f"-x -a {_fish_quoted(' '.join(switch.choices))}"
    elif switch.metavar and switch.kind == "word":
        yield "-x"
    elif switch.metavar and switch.kind == "directory":
        yield "-x -a '(__fish_complete_directories)'"
    elif switch.metavar:
        yield "-r -F"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class _Template:
    """A script with ``@name@`` where something goes; shells leave these alone."""

    def __init__(self, text: str) -> None:
        self._text = text

    def substitute(self, **parts: str) -> str:
        """Fill all of them in."""
        text = self._text
        for name, part in parts.items():
            text = text.replace(f"@{name}@", part)
        return text


_BASH: Final = _Template(
    r"""# bash completion for bpfpack
_bpfpack_valued() {
    local valued=
    case $1 in
@valued@
    esac
    [[ $valued == *" $2 "* ]]
}

_bpfpack() {
    local line=${COMP_LINE:0:COMP_POINT} path= kind= previous= operand= cur word before
    local -a typed words
    # Words as the user sees them: bash would split references at their colons.
    read -ra typed <<<"$line"
    if [[ $line == *[[:space:]] ]]; then
        cur=
    else
        cur=${typed[-1]}
        unset 'typed[-1]'
    fi
    for word in "${typed[@]:1}"; do
        if [[ -n $previous ]] && _bpfpack_valued "$path" "$previous"; then
            previous=
            continue
        fi
        previous=$word
        case $path/$word in
        @paths@) path=$path/$word previous= ;;
        *) [[ $word == -* ]] || operand=$word ;;
        esac
    done
    if [[ $path == /run && -n $operand ]]; then
        return # the package's own options
    elif [[ -n $previous ]] && _bpfpack_valued "$path" "$previous"; then
        case "$path $previous" in
@values@
        esac
    elif [[ $cur == -* || ' @parents@ ' == *" $path/ "* ]]; then
        case $path in
@words@
        esac
    else
        case $path in
@operands@
        esac
    fi
    case $kind in
    file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    directory) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    reference)
        if [[ $cur == [./~]* ]]; then
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        else
            words=($(_bpfpack_references))
        fi
        ;;
    esac
    if ((${#words[@]})); then
        mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$cur")
    fi
    # What bash takes for the current word begins after the last colon.
    before=${cur%"${cur##*:}"}
    if [[ -n $before && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"$before"}")
    fi
}

_bpfpack_references() {
    bpfpack list 2>/dev/null | while read -r name tag _; do
        [[ $name == REPOSITORY || $tag == '<none>' ]] || echo "$name:$tag"
    done
}

complete -F _bpfpack bpfpack
"""
)

_ZSH: Final = _Template(
    r"""#compdef bpfpack
# zsh completion for bpfpack
_bpfpack_references() {
    local -a names
    names=(${(f)"$(bpfpack list 2>/dev/null | while read -r name tag rest; do
        [[ $name == REPOSITORY || $tag == '<none>' ]] || print -r -- "$name:$tag"
    done)"})
    compadd -a names
}

_bpfpack_valued() {
    local valued=
    case $1 in
@valued@
    esac
    [[ $valued == *" $2 "* ]]
}

_bpfpack() {
    local at= kind= previous= operand= word
    local -a words_
    for word in ${words[2,CURRENT-1]}; do
        if [[ -n $previous ]] && _bpfpack_valued "$at" "$previous"; then
            previous=
            continue
        fi
        previous=$word
        case $at/$word in
        @paths@) at=$at/$word previous= ;;
        *) [[ $word == -* ]] || operand=$word ;;
        esac
    done
    if [[ $at == /run && -n $operand ]]; then
        return 1 # the package's own options
    elif [[ -n $previous ]] && _bpfpack_valued "$at" "$previous"; then
        case "$at $previous" in
@values@
        esac
    elif [[ $words[CURRENT] == -* || ' @parents@ ' == *" $at/ "* ]]; then
        case $at in
@words@
        esac
    else
        case $at in
@operands@
        esac
    fi
    if (($#words_)); then
        _describe bpfpack words_
        return
    fi
    case $kind in
    file) _files ;;
    directory) _files -/ ;;
    reference)
        if [[ $words[CURRENT] == [./~]* ]]; then
            _files
        else
            _bpfpack_references
        fi
        ;;
    esac
}

# Sourced, it registers itself; from $fpath it is the function's body.
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _bpfpack "$@"
else
    compdef _bpfpack bpfpack
fi
"""
)

_FISH: Final = _Template(
    r"""# fish completion for bpfpack
function __bpfpack_at
    set -l path ''
    set -l previous ''
    for word in (commandline -opc)[2..-1]
        if contains -- "$path:$previous" @valued@
            set previous ''
            continue
        end
        set previous $word
        if contains -- "$path/$word" @paths@
            set path "$path/$word"
        else if test "$path" = /run; and not string match -q -- '-*' $word
            # The package's own options come after it.
            return 1
        end
    end
    test "$path" = "$argv[1]"
end

function __bpfpack_references
    bpfpack list 2>/dev/null | while read -l name tag rest
        if test "$name" != REPOSITORY; and test "$tag" != '<none>'
            echo "$name:$tag"
        end
    end
end
"""
)
