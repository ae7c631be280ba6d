"""`das completion`: for a shell, so that Tab completes commands, options, tasks, networks and runs."""

from __future__ import annotations

from das.errors import unknown

COMPLETE = "__complete"
"""The command, in no list, that a shell asks: after it the words so far, the last of them unfinished."""

SCRIPTS = {
    "bash": f"""_das() {{
    local IFS=$'\\n'
    COMPREPLY=($(das {COMPLETE} "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null))
}}
complete -o default -F _das das""",
    "zsh": f"""#compdef das
_das() {{
    local -a found
    found=("${{(@f)$(das {COMPLETE} "${{(@)words[2,CURRENT]}}" 2>/dev/null)}}")
    if [[ -n $found[1] ]]; then compadd -- $found; else _files; fi
}}
compdef _das das""",
    "fish": f"complete -c das -a '(das {COMPLETE} (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'",
}
"""Shell → what it must read."""


def completion(shell: str) -> None:
    """Print what makes Tab complete commands, options and values. For bash: `source <(das completion bash)`, in ~/.bashrc to
    have it always; for zsh the same in ~/.zshrc; for fish: `das completion fish > ~/.config/fish/completions/das.fish`.

    Args:
        shell: One of bash, zsh and fish.
    """
    if shell not in SCRIPTS:
        raise unknown("shell", shell, SCRIPTS)
    print(SCRIPTS[shell])
