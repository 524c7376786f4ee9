"""``dingbridge doctor``: looks at everything a callback passes, and says in plain words what is wrong.

``run`` holds the order, ``checks`` the looking and judging, ``words.toml`` what each code means; checks that
look into one part live in that part, and are found by ``parts``. It reads, and changes nothing: it counts its
own API calls, and writes and removes a small file beside the journal.
"""
