"""Walks a running agent (NOMAD_ADDR, NOMAD_PORT) with python-nomad."""
import os, time
import nomad

n = nomad.Nomad(host=os.environ["NOMAD_HOST"], port=int(os.environ["NOMAD_PORT"]), timeout=20)
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
until("the evaluation", lambda: n.evaluation.get_evaluation(made["EvalID"])["Status"] == "complete")
until("two allocations", lambda: [a["ClientStatus"] for a in n.job.get_allocations("py")].count("running") == 2)
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
n.job.deregister_job("py", purge=True)
until("the end", lambda: "py" not in n.jobs)
print("python-nomad: ok")
