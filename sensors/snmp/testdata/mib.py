#!/usr/bin/python3
"""Serves the objects of a file to snmpd (pass_persist): a line each of OID, type and value. The file is read at each
question; while there is none, there are no objects."""
import sys


def objects(path):
    out = []
    try:
        with open(path) as f:
            for line in f:
                part = line.split(None, 2)
                if len(part) == 3:
                    oid = "." + part[0].lstrip(".")
                    out.append(([int(n) for n in oid.split(".")[1:]], oid, part[1], part[2].rstrip("\n")))
    except OSError:
        pass
    return sorted(out)


def ask():
    return sys.stdin.readline().rstrip("\n")


while True:
    question = ask()
    if question == "":
        break
    if question == "PING":
        print("PONG", flush=True)
        continue
    want = [int(n) for n in ask().split(".")[1:]]
    found = [o for o in objects(sys.argv[1]) if (o[0] > want if question == "getnext" else o[0] == want)]
    if question in ("get", "getnext") and found:
        print("\n".join(found[0][1:]), flush=True)
    else:
        print("NONE", flush=True)
