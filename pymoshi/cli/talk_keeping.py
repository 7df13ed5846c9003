"""The files that grow with a conversation: recording and replay bundle."""

from pymoshi.background import KeptFile
from pymoshi.cli.role import Role
from pymoshi.cli.talk_minutes import Outputs
from pymoshi.recording import Recording
from pymoshi.replay import ReplayWriter


def kept_files(outputs: Outputs, role: Role) -> list[KeptFile]:
    """Those that were asked for."""
    kept = []
    if (recording := outputs.record) is not None:
        kept.append(KeptFile("recording", lambda _: Recording(recording)))
    if (bundle := outputs.replay) is not None:
        kept.append(
            KeptFile("replay", lambda session: ReplayWriter(bundle, session, voice=role.voice, prompt=role.prompt))
        )
    return kept
