"""`pymoshi persona`: roles for PersonaPlex."""

import json
from typing import Annotated

import typer

from pymoshi.cli.console import say
from pymoshi.cli.table import print_table
from pymoshi.personas import find_persona, load_personas, personas_file, wrap_prompt

persona_app = typer.Typer(help="Roles for PersonaPlex: presets, and your own.", no_args_is_help=True)


@persona_app.command("list")
def list_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the personas that come with pymoshi, and your own."""
    personas = load_personas()
    if as_json:
        entries = [
            {"name": item.name, "description": item.description, "voice": item.voice, "file": item.source or None}
            for item in personas.values()
        ]
        typer.echo(json.dumps(entries, indent=1, ensure_ascii=False))
        return
    rows = []
    for persona in personas.values():
        what = persona.description or persona.prompt[:60]
        rows.append((persona.name, f"{what} (yours)" if persona.source else what, persona.voice or ""))
    print_table(("Persona", "What", "Voice"), rows)
    say(f"Your own go into {personas_file()}")


@persona_app.command("show")
def show_command(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Show a persona as JSON, with the prompt as the model gets it."""
    persona = find_persona(name)
    shown = {
        "name": persona.name,
        "description": persona.description,
        "voice": persona.voice,
        "prompt": persona.prompt,
        "as the model reads it": wrap_prompt(persona.prompt),
        "file": persona.source or None,
    }
    typer.echo(json.dumps(shown, indent=1, ensure_ascii=False))
