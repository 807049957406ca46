"""What redis-py, unchanged, does with moonq. Usage: redis_py.py SOCKET SCENARIO; exits with 0 if it holds."""

import json
import sys

import redis


def as_map(flat):
    """RESP2 has no maps: keys and values alternate."""
    return dict(zip(flat[::2], flat[1::2]))


def push(r, *words):
    return r.execute_command("PUSH", *words)


def fetch(r, queue, *words):
    return [as_map(job) for job in r.execute_command("FETCH", queue, *words)]


def refused(code, call, *words):
    # redis-py puts the command before the errors of a pipeline, and has a class of its own for NOPERM.
    try:
        call(*words)
    except redis.exceptions.NoPermissionError:
        assert code == "NOPERM"
    except redis.ResponseError as error:
        assert code in str(error), error
        return str(error)
    else:
        raise AssertionError("%s was not refused" % (words,))


def scenario_push(r):
    id = push(r, "mail.send", json.dumps({"to": "åda@example.org"}), "QUEUE", "py.push", "TAGS", "a,b", "DELAY", "1h")
    job = as_map(r.execute_command("JOB", id))
    assert job["id"] == id and len(id) == 13
    assert job["state"] == "scheduled" and job["tags"] == ["a", "b"]
    assert json.loads(job["payload"]) == {"to": "åda@example.org"}
    assert job["meta"] is None


def scenario_pipeline(r):
    pipe = r.pipeline(transaction=False)
    for n in range(1000):
        pipe.execute_command("PUSH", "a", str(n), "QUEUE", "py.pipe")
    ids = pipe.execute()
    assert len(set(ids)) == 1000 and sorted(ids) == ids
    queue = as_map(r.execute_command("QUEUES", "py.pipe")[0])
    assert queue["ready"] == 1000 and queue["pushed_total"] == 1000


def scenario_multi(r):
    pipe = r.pipeline()
    pipe.execute_command("PUSH", "a", "1", "QUEUE", "py.multi")
    pipe.execute_command("PUSH", "b", "2", "QUEUE", "py.multi")
    assert len(pipe.execute()) == 2
    pipe.execute_command("PUSH", "a", "3", "QUEUE", "py.multi")
    pipe.execute_command("PUSH", "a", "4", "PRIORITY", "10")
    refused("BADARG", pipe.execute)
    pipe.execute_command("PUSH", "a", "5", "QUEUE", "py.multi")
    pipe.execute_command("CANCEL", "0000000000001")
    assert "command 2 (CANCEL)" in refused("NOTFOUND", pipe.execute)
    assert as_map(r.execute_command("QUEUES", "py.multi")[0])["pushed_total"] == 2


def scenario_consume(r):
    first, second = push(r, "a", "1", "QUEUE", "py.consume"), push(r, "a", "2", "QUEUE", "py.consume")
    r.client_setname("py-consumer")
    jobs = fetch(r, "py.consume", "COUNT", 10, "BLOCK", 1000, "LEASE", "30s")
    assert [job["id"] for job in jobs] == [first, second]
    assert r.execute_command("ACK", first, jobs[0]["token"], "result") == "OK"
    refused("LOST", r.execute_command, "ACK", second, jobs[1]["token"] + 1)
    failed = as_map(r.execute_command("NACK", second, jobs[1]["token"], "it broke", "DELAY", "1h"))
    assert failed["state"] == "retrying" and failed["attempt"] == 1 and failed["run_at"] > 0
    assert as_map(r.execute_command("JOB", first))["result"] == "result"
    attempts = [as_map(a) for a in as_map(r.execute_command("JOB", second))["attempts"]]
    assert attempts[0]["message"] == "it broke" and attempts[0]["worker"] == "py-consumer"


def scenario_wait(r):
    ids = [push(r, "double", json.dumps({"n": n})) for n in (1, 2)]
    ended = [as_map(job) for job in r.execute_command("WAIT", *ids, "TIMEOUT", "10s")]
    assert [json.loads(job["result"])["twice"] for job in ended] == [2, 4]
    assert all(job["state"] == "succeeded" for job in ended)
    refused("TIMEOUT", r.execute_command, "WAIT", push(r, "a", "1", "QUEUE", "py.wait"), "TIMEOUT", "20ms")


def scenario_events(r):
    stream = r.connection_pool.get_connection("EVENTS")
    stream.send_command("EVENTS", "QUEUE", "py.events", "NAME", "job.pushed,job.cancelled")
    assert stream.read_response() == "OK"
    id = push(r, "a", "1", "QUEUE", "py.events")
    r.execute_command("CANCEL", id)
    for name in ("job.pushed", "job.cancelled"):
        event = json.loads(stream.read_response())
        assert event["event"] == name and event["id"] == id and event["type"] == "a"
    stream.disconnect()


def scenario_errors(r):
    assert "did you mean 'PUSH'" in refused("BADARG", r.execute_command, "PUHS")
    assert "'soon'" in refused("BADARG", push, r, "a", "1", "DELAY", "soon")
    refused("NOTFOUND", r.execute_command, "JOB", "0000000000001")
    refused("TOOBIG", push, r, "a", "x" * (1024 * 1024 + 1))
    refused("TOOBIG", push, r, "a", "x" * (4 * 1024 * 1024))
    assert r.ping()


def scenario_habits(r):
    assert r.ping() and r.echo("hi") == "hi"
    assert r.info("server")["loading"] == 0
    assert r.client_id() > 0
    assert any(client["id"] == str(r.client_id()) for client in r.client_list())
    assert "pipeline_max" in r.config_get("pipe*")
    assert r.command_count() > 40
    refused("NOPERM", r.execute_command, "AUTH", "secret")


if __name__ == "__main__":
    connection = redis.Redis(unix_socket_path=sys.argv[1], decode_responses=True)
    globals()["scenario_" + sys.argv[2]](connection)
