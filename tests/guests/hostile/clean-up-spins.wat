;; expect: 504 plugin-deadline deadline
(component
  (core module $m (memory (export "memory") 1)
    (func (export "run") (result i32) (i32.const 64)) (func (export "post") (param i32) (loop $l (br $l))))
  (core instance $i (instantiate $m))
  (func (export "run") (result string)
    (canon lift (core func $i "run") (memory (core memory $i "memory")) (post-return (core func $i "post")))))
