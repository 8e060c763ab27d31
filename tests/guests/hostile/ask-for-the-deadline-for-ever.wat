;; expect: 504 plugin-deadline deadline
;; world: import hospes:plugin/call@0.1.0; export run: func();
(module (import "hospes:plugin/call@0.1.0" "deadline" (func $deadline (result i64)))
  (func (export "run") (loop $l (drop (call $deadline)) (br $l))))
