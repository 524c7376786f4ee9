"""``dingbridge doctor``: checks everything a callback passes, and reports in plain words what is wrong.

``run`` has the order, ``checks`` look and judge, ``words.toml`` has the words of each code; checks of one
part live in that part, and are found by ``parts``. It reads, and changes nothing, except that it counts its
own API calls, and writes and removes a small file beside the journal.
"""
