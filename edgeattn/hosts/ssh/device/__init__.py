"""The device's side of the ssh host: `python -m edgeattn.hosts.ssh.device COMMAND`, with edgeattn's folder as its cwd.

A command reads one JSON document on stdin and writes one on stdout; `follow` writes one per line. The folder holds

    venv/  wheels/  install.json           the device half
    incoming/<digest>.part                 files on their way here
    work/<workspace>/bundle/               one bundle of one controller, kept for the next job on it
    store/                                 what edgeattn keeps there, such as built engines
    jobs/<id>/{job.json, stderr, stdout, exit.json, alive, follower}

A job runs apart from the connection, under a supervisor that holds the device's lease and writes the exit code. It goes
on when the connection is lost. When the controller dies it goes on too: the same command takes it over, or takes its
result within an hour.
"""
