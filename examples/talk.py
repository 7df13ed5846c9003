"""Talk with a model: microphone, speaker, and its words on the screen. Ctrl-C ends.  python talk.py [MODEL]"""

import sys

import pymoshi
from pymoshi.conversation import TextPiece

with pymoshi.Conversation(sys.argv[1] if len(sys.argv) > 1 else "demo") as conversation:
    for event in conversation:
        if isinstance(event, TextPiece):
            print(event.text, end="", flush=True)
