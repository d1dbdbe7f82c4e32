server {
  enabled = true
  heartbeat_grace = "soon"
}
