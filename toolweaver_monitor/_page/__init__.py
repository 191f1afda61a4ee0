"""The page that people look at: what runs, fails, takes long and costs, live or as one file.

Files
    figures.py       the statistics of a program as plain data, tool by tool
    groups.py        the same by model, or by the value of a tag
    history.py       calls by tool and quarter of a minute, for the lines and the latency strip
    detail.py        one row, and one trace, from the calls that are kept
    stored.py        the figures of a store; stored_calls.py: its single calls and traces
    versions.py      what of an answer last changed when
    feed.py          answers polls with what has changed since the last one
    store_feed.py    the same from a store, read on a thread of its own
    document.py      the files that the page is made of, and all of them as one

The page is served as files below `assets/`, of our own and without a build step. Its scripts write text of users, such
as the names of tools, by `textContent` only, and a Content-Security-Policy without `unsafe-inline` stands behind that.
"""
