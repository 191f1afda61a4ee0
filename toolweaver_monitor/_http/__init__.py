"""One HTTP endpoint: fixed paths, read by `GET` and `HEAD`, behind access rules.

Files
    endpoint.py   `Endpoint`: bind, start, close; accept or reject a request, and find its route
    mounted.py    the same response in an application of the user's, by ASGI or WSGI
    access.py     addresses, host names, tokens, certificates, and the rules made of them
    default_port.py  the port of an endpoint that was given none
    port_wait.py  wait for a port that is taken
    server.py     `Loop`: one thread that serves all connections
    messages.py   parse a request, serialize a response

The way of a request
    1. `Loop` accepts the connection and reads without blocking until the head (request line and headers) is complete.
    2. `Endpoint.answer` parses the head. A request that two readers could understand differently gets 400.
    3. The access rules come first: 401 without the token, 403 for a foreign Host, 405 for another method. A client
       that may not read learns nothing about the paths.
    4. The route of the exact path makes the response; there is no decoding, joining or prefix. Otherwise 404.
    5. `Loop` sends the response. It then waits for the next request on the connection, or discards what the client
       still sends, so that the client gets to read the response instead of a reset.

Why a server by hand
    An endpoint must answer a scrape within a second while 500 half-open connections are held against it. Such
    connections fill any bounded pool of threads, and `http.server` with a thread per connection is unbounded. An event
    loop copes with them, but importing asyncio takes 43 ms of the 100 ms that import and `setup()` may take together.
    One thread with a selector, for as much of HTTP/1.1 as GET and HEAD need, is the smallest server that copes.

What bounds it
    - Memory: at most `MAX_CONNECTIONS` connections of at most `MAX_HEAD_BYTES` plus one read. One connection more, or
      no free file descriptor, drops the slowest one.
    - Time: `TIMEOUT_S` for a whole request to arrive, for its response to leave and for the next request. A client
      that sends byte by byte gains nothing.
    - Work: request bodies are never read. A response is made on the loop's thread, so a slow route delays the others;
      routes only read what is already in memory.
    - Own errors: each is logged and costs its connection. `MAX_FAILED_TURNS` in a row end the endpoint.

Access
    Loopback only by default. Listening beyond it takes a token, TLS or `insecure=True`. Without a token a request must
    name an allowed host, which stops web pages that point their own name at this machine (DNS rebinding). Only the
    token's digest is kept, and compared in constant time. The page, which shows the texts of errors, is added only on
    loopback or with a token, unless `page=True`; a browser sends the token as the password of Basic authentication.

Processes and threads
    The thread runs with monitoring suppressed, so that code called for a response is not monitored. A forked child
    closes its copies of the descriptors without touching the sockets, which belong to the parent, and does not listen.
"""
