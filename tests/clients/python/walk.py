"""Walks a running agent (NOMAD_HOST, NOMAD_PORT) with python-nomad, with NOMAD_TOKEN if set."""
import os, time
import nomad

host, port, token = (os.environ.get(k) for k in ("NOMAD_HOST", "NOMAD_PORT", "NOMAD_TOKEN"))
n = nomad.Nomad(host=host, port=int(port), token=token, timeout=20)
task = {"Name": "t", "Driver": "raw_exec", "Config": {"command": "/bin/sleep", "args": ["60"]},
        "Resources": {"CPU": 20, "MemoryMB": 16}, "KillTimeout": 1_000_000_000}
job = {"Job": {"ID": "py", "Name": "py", "Type": "service", "Datacenters": ["dc1"],
               "TaskGroups": [{"Name": "g", "Count": 2, "Tasks": [task]}]}}


def until(what, holds):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if holds():
            return
        time.sleep(0.05)
    raise SystemExit(f"waited in vain for {what}")


assert n.validate.validate_job(job).status_code == 200
plan = n.job.plan_job("py", job)
assert plan["FailedTGAllocs"] is None, plan
made = n.job.register_job("py", job)
evaluation = lambda: n.evaluation.get_evaluation(made["EvalID"])
until("the evaluation", lambda: evaluation()["Status"] == "complete")
states = lambda: [a["ClientStatus"] for a in n.job.get_allocations("py")]
until("two allocations", lambda: states().count("running") == 2)
assert "py" in n.jobs and n.job.get_job("py")["Status"] == "running"
alloc = n.job.get_allocations("py")[0]
assert n.allocation.get_allocation(alloc["ID"])["JobID"] == "py"
assert n.node.get_node(alloc["NodeID"])["Status"] == "ready"
assert n.agent.get_agent()["config"] and n.status.leader.get_leader()
try:
    n.job.get_job("none")
    raise SystemExit("a job that is not there was found")
except nomad.api.exceptions.URLNotFoundNomadException:
    pass
n.variable.create_variable("py/one", {"Items": {"k": "v"}})
assert n.variable.get_variable("py/one")["Items"] == {"k": "v"}
n.variable.delete_variable("py/one")
n.namespace.create_namespace({"Name": "py"})
assert any(x["Name"] == "py" for x in n.namespaces.get_namespaces())
n.namespace.delete_namespace("py")
if token:
    rules = 'namespace "default" { policy = "read" }'
    n.acl.create_policy("py", {"Name": "py", "Rules": rules})
    made = n.acl.create_token({"Name": "py", "Type": "client", "Policies": ["py"]})
    reader = nomad.Nomad(host=host, port=int(port), token=made["SecretID"], timeout=20)
    assert reader.job.get_job("py")["ID"] == "py"
    try:
        reader.job.deregister_job("py")
        raise SystemExit("a token that may only read has stopped a job")
    except nomad.api.exceptions.URLNotAuthorizedNomadException:
        pass
    n.acl.delete_token(made["AccessorID"])
    n.acl.delete_policy("py")
n.job.deregister_job("py", purge=True)
until("the end", lambda: "py" not in n.jobs)
print("python-nomad: ok")
