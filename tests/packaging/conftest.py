"""test_portable.py is for an installed portable build (`PYMOSHI_PORTABLE`), which takes minutes to make:

PYMOSHI_TEST_PORTABLE=1 pytest tests/packaging/test_portable.py
"""

import os

collect_ignore = [] if os.environ.get("PYMOSHI_TEST_PORTABLE") else ["test_portable.py"]
