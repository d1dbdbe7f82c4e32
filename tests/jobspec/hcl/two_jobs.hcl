job "a" {
}
job "b" {
}
service "c" {
}
