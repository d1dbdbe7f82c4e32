{
  "job": {"x": {
    "group": [}
  }}
}
