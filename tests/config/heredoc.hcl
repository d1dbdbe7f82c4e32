server {
  enabled = true
}
data_dir = "/var/lib/vardo"
http_api_response_headers {
  X-Motd = <<-END
  hello
  END
}
