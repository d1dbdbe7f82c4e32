server {
  enabled = true
}
data_dir = "/var/lib/vardo"
telemetry {
  prometheus_metrics = true
  publish_node_metrics = true
  collection_interval = "5s"
  prefix_filter = ["+a", "-b"]
}
