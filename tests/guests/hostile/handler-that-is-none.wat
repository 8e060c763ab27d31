;; expect: refused that is not `wasi:http`'s
;; exports: wasi:http/incoming-handler@0.2.0#handle
(component
  (core module $m (func (export "handle") (param i32)))
  (core instance $i (instantiate $m))
  (func $handle (param "request" u32) (canon lift (core func $i "handle")))
  (instance $h (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $h)))
