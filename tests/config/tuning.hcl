server {
  enabled = true
}
data_dir = "/var/lib/vardo"
server {
  node_gc_threshold         = "48h"
  job_gc_interval           = "1m30s"
  heartbeat_grace           = "20s"
  min_heartbeat_ttl         = "15s"
  max_heartbeats_per_second = 12.5
  raft_multiplier           = 5
  job_max_priority          = 200
  job_default_priority      = 60
  job_max_source_size       = "500K"
  event_buffer_size         = 20
  enable_event_broker       = true
  search {
    fuzzy_enabled   = false
    limit_query     = 50
    limit_results   = 1000
    min_term_length = 3
  }
}
limits {
  http_max_conns_per_client = 0
}
server {
  num_schedulers     = 0
  enabled_schedulers = ["batch", "_core"]
}
