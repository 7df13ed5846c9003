"""What the demo model says: its lines, as its inner monologue prints them, and how to pronounce them.

It must be honest: the model reacts to *when* somebody speaks, never to *what* is said.
"""

WELCOME = (
    "Hello! This is pymoshi.",
    "It lets you talk with a speech model on your own machine, and nothing you say leaves it.",
    "I am only a small demo. I hear when you speak, but not what you say. Go ahead!",
)
CYCLE = (
    "I heard you. I am a tiny model, small enough to live inside a package.",
    "I can listen while I talk. Go on, try to interrupt me in the middle of this sentence.",
    "Thank you. I do not understand words yet, but I know when you are speaking.",
    "Here is a joke. Why did the frog talk so fast? Because it was full duplex.",
    "That is interesting. Please tell me more.",
    "I think in twelve and a half frames every second.",
    "My voice was made by a computer, and learned by a very small network.",
    "Do you like music? I only know how to hum.",
    "It is nice to talk with you. What did you do today?",
    "Really? That sounds like fun.",
    "The big models know much more than I do. You can download one later.",
    "Everything runs on your own computer. No cloud is listening.",
    "What is your favorite color? Mine is blue.",
    "Good choice. I would like to see it one day.",
    "Another joke. What does a codec eat? Tokens, of course.",
    "I hope that made you smile.",
    "How is the weather where you are?",
    "I see. It is always warm inside a computer.",
    "You can give the big models a role, and a voice of your own.",
    "Do you have any plans for tonight?",
    "Sounds great. I will stay here and wait for you.",
    "Tell me about a place that you would like to visit.",
    "I have never been anywhere. But I am easy to carry.",
    "A frame lasts eighty milliseconds. In that time I hear you, think, and speak.",
    "What did you have for breakfast? I had a few numbers.",
    "You have a nice voice. Please go on.",
    "I have only a few lines, so I may repeat myself soon.",
    "That was a good talk. Let us start again from the top.",
)
LONG = "Thank you for telling me all that."
RESUME = "As I was saying."
NUDGES = ("Are you still there?", "I am here when you are ready.")

LINES = (*WELCOME, *CYCLE, LONG, RESUME, *NUDGES)
KINDS = (
    *("greeting" for _ in WELCOME),
    *("cycle" for _ in CYCLE),
    "long",
    "resume",
    *("nudge" for _ in NUDGES),
)

# Line numbers, as the simulator uses them.
FIRST, LAST = len(WELCOME), len(WELCOME) + len(CYCLE) - 1  # of the cycle
LONG_LINE, RESUME_LINE = LAST + 1, LAST + 2
NUDGE_LINES = tuple(range(LAST + 3, len(LINES)))

SPELLED_FOR_THE_SYNTHESISER = {"pymoshi": "pie moshee"}
PHONES = {  # for the aligner and the recogniser, where their dictionary has no such word
    "pymoshi": "P AY M OW SH IY",
    "codec": "K OW D EH K",
    "favorite": "F EY V R AH T",
    "tokens": "T OW K AH N Z",
    "duplex": "D UW P L EH K S",
    "milliseconds": "M IH L AH S EH K AH N D Z",
    "demo": "D EH M OW",
}

SENTENCES_OF_USERS = (
    "hello there how are you today",
    "i am fine thank you and you",
    "tell me a joke",
    "what is your name",
    "can you hear me",
    "yes",
    "no",
    "okay",
    "right",
    "really",
    "thanks",
    "that is really funny",
    "i went to the market and bought some apples",
    "the weather is cold and rainy here in the north",
    "could you repeat that please",
    "i do not know what to say",
    "what time is it right now",
    "my favorite color is green like the grass",
    "i like to play the piano in the evening",
    "stop",
    "wait a second",
    "hold on i have a question for you",
    "why do you think so",
    "that sounds great to me",
    "the quick brown fox jumps over the lazy dog",
    "we watched a film about a boat that sailed around the world",
    "good morning",
    "good bye see you later",
    "what can you do",
    "are you a robot or a person",
    "i think you are quite small but clever",
    "please go on",
    "so what happened next",
    "hmm let me think about that for a moment",
    "one two three four five six seven eight nine ten",
    "my sister lives in paris and works as a doctor",
    "is there anything you would like to ask me",
    "it was a long day and i am a little tired",
    "do you speak french or german",
    "sure",
    "never mind",
    "i have been reading a book about the history of science and then i talked with a friend about it for an hour",
    "how does it work",
    "last summer we took the train to the coast and walked along the beach every single morning before breakfast",
    "well i am not sure about that but i can try",
    "the children were playing in the garden when it suddenly started to rain so we all ran back into the house",
)
