{
  "job": {
    "web": {
      "priorty": 5,
      "group": {
        "g": {
          "count": "many",
          "task": {"t": {"driver": "raw_exec", "config": {"command": "${nope(1)}"}}},
          "restart": {"delay": "soon"},
          "bad name": 1
        }
      }
    }
  },
  "other": {}
}
