"""Let a model listen to a file, and keep what it says.  python file_to_file.py question.flac reply.wav [MODEL]"""

import sys

import pymoshi
from pymoshi.audio.signals import FileSink, FileSource
from pymoshi.conversation import TextPiece

heard, said, *model = sys.argv[1:]

# A source that is not paced is read as fast as the model computes.
with pymoshi.Conversation(*model, source=FileSource(heard), sink=FileSink(said), seed=7) as conversation:
    for event in conversation:
        if isinstance(event, TextPiece):
            print(event.text, end="", flush=True)
print(f"\n{conversation.stats.frames * 0.08:.1f} s of conversation")
