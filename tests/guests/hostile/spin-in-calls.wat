;; expect: 504 plugin-deadline deadline
;; Calls itself from the tail for ever.
(module (func $again (return_call $again)) (func (export "run") (call $again)))
