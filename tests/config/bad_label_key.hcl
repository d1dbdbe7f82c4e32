plugin "raw_exec" {
  configs {
    enabled = true
  }
}
