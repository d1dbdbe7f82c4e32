data_dir="/d" server{enabled=true} client{enabled=true meta{a="b"}}
