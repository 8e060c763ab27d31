;; world: export run: func();
;; Never ends.
(module
  (func (export "run") (loop $again (br $again))))
