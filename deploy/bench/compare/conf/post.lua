wrk.method = "POST"
wrk.body = string.rep("z", 1024)
