{
  "//": "A job in the JSON form.",
  "variable": {
    "n": {"type": "number", "default": 2},
    "names": {
      "type": "list(string)",
      "default": ["a", "b"],
      "validation": {"condition": "${length(var.names) > 0}", "error_message": "No names."}
    }
  },
  "locals": {"greeting": "good ${var.names[0]}"},
  "job": {
    "web": {
      "datacenters": ["dc1", "${var.names[1]}"],
      "meta": {"a.b": "x \"quoted\" \\ \n ${local.greeting}", "plain": "$${kept}"},
      "constraint": [
        {"attribute": "${attr.kernel.name}", "value": "linux"},
        {"operator": "distinct_hosts", "value": "true"}
      ],
      "spread": {"attribute": "${node.datacenter}", "target": [{"dc1": {"percent": 60}}, {"dc2": {"percent": 40}}]},
      "update": {"max_parallel": 2, "min_healthy_time": "5s"},
      "group": [
        {"one": {
          "count": "${var.n}",
          "network": {"port": {"http": {"to": 80}, "db": {"static": 5432}}},
          "task": {
            "t": {
              "driver": "raw_exec",
              "config": {"command": "/bin/sh", "args": ["-c", "echo ${NOMAD_TASK_NAME}"], "n": 1.5, "deep": {"k": [true, null]}},
              "env": {"A": "b"},
              "template": [{"data": "x", "destination": "local/x"}, {"data": "y", "destination": "local/y"}],
              "resources": {"cpu": 10, "memory": 16}
            }
          }
        }},
        {"two": {"task": {"u": {"driver": "raw_exec"}, "v": {"driver": "raw_exec"}}}}
      ]
    }
  }
}
