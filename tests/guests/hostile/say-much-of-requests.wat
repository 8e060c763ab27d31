;; expect: answers
;; The host refuses long texts in outgoing requests. It once kept each of them as long as its handle, without counting it.
(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "fields" (type $fields (sub resource)))
    (export "outgoing-request" (type $request (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[constructor]outgoing-request"
      (func (param "headers" (own $fields)) (result (own $request))))
    (type $methods (variant (case "get") (case "head") (case "post") (case "put") (case "delete") (case "connect")
      (case "options") (case "trace") (case "patch") (case "other" string)))
    (export "method" (type $method (eq $methods)))
    (export "[method]outgoing-request.set-method"
      (func (param "self" (borrow $request)) (param "method" $method) (result (result))))
    (export "[method]outgoing-request.set-path-with-query"
      (func (param "self" (borrow $request)) (param "path-with-query" (option string)) (result (result))))))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $memory (instantiate $memory))
  (core func $fields (canon lower (func $types "[constructor]fields")))
  (core func $request (canon lower (func $types "[constructor]outgoing-request")))
  (core func $method (canon lower (func $types "[method]outgoing-request.set-method")
    (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core func $path (canon lower (func $types "[method]outgoing-request.set-path-with-query")
    (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core module $m
    (import "h" "fields" (func $fields (result i32)))
    (import "h" "request" (func $request (param i32) (result i32)))
    (import "h" "method" (func $method (param i32 i32 i32 i32) (result i32)))
    (import "h" "path" (func $path (param i32 i32 i32 i32) (result i32)))
    (import "h" "memory" (memory 1))
    (func (export "run") (local $request i32)
      (memory.fill (i32.const 0) (i32.const 65) (i32.const 9000))
      (i32.store8 (i32.const 0) (i32.const 47))
      (local.set $request (call $request (call $fields)))
      ;; 8,192 bytes are allowed, 8,193 are not.
      (if (i32.eqz (call $method (local.get $request) (i32.const 9) (i32.const 1) (i32.const 8193))) (then unreachable))
      (if (call $method (local.get $request) (i32.const 9) (i32.const 1) (i32.const 8192)) (then unreachable))
      (if (i32.eqz (call $path (local.get $request) (i32.const 1) (i32.const 0) (i32.const 8193))) (then unreachable))
      (if (call $path (local.get $request) (i32.const 1) (i32.const 0) (i32.const 8192)) (then unreachable))))
  (core instance $i (instantiate $m (with "h" (instance
    (export "fields" (func $fields)) (export "request" (func $request)) (export "method" (func $method))
    (export "path" (func $path)) (export "memory" (memory $memory "memory"))))))
  (func (export "run") (canon lift (core func $i "run"))))
