;; expect: refused does not compile
(module (type $a (array (mut i8)))
  (func (export "run") (drop (array.new $a (i32.const 0) (i32.const 0x7fffffff)))))
