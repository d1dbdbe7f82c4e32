server {
  enabled = true
}
data_dir = "/var/lib/vardo"
http_api_response_headers {
  Access-Control-Allow-Origin = "*"
  "X-B" = "c d"
}
