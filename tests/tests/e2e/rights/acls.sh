# What setfacl, chmod, umask, cp, tar and rsync do with access-control lists, and what those let whom do.
# Says all it sees; a test compares that with what is said on ext4. $1: an empty folder, $2: an archive.
exec 2>&1
cd "$1"
archive=$2
umask 022
set +e
say() { echo "== $*"; }
as() { local u=$1; shift; setpriv --reuid "$u" --regid "$u" --clear-groups "$@"; echo "-> $?"; }
acl() { getfacl -pcnE "$@" 2>&1; stat -c '%a %u %g' "${@: -1}"; }
mkdir t; chmod 755 t .; cd t
say named user and mask
echo x > f; chmod 640 f; setfacl -m u:1001:rw f; acl f
as 1001 sh -c 'echo y >> f'; as 1002 cat f; setfacl -m m::r f; as 1001 sh -c 'echo y >> f'; acl f
say chmod changes the mask
chmod 670 f; acl f; chmod g-w f; acl f
say equivalent to a mode
setfacl -b f; acl f; getfattr -dm- f; setfacl -m u::rwx,g::r,o::- f; acl f; getfattr -dm- f
chmod 6755 f; setfacl -m u::rw,g::rw,o::r f; stat -c %a f
say default list
mkdir d; setfacl -m u:1001:rwx,d:u:1001:rwx,d:g:50:r-x,d:o::- d; acl d
umask 077; touch d/file; mkdir d/sub; mkfifo d/p; ln -s x d/l; ( umask 0; touch d/open; mkdir d/opend )
umask 022
for i in file sub p open opend; do say "$i"; acl d/$i; done
stat -c '%a' d/l; mkdir d/sub/sub2; acl d/sub/sub2; mkdir -m 700 d/seven; acl d/seven
install -m 640 /dev/null d/inst; acl d/inst
mknod d/null c 1 3; acl d/null
python3 -c 'import socket;s=socket.socket(socket.AF_UNIX);s.bind("d/sock")'; acl d/sock
say default list that is a mode
mkdir e; setfacl -d -m u::rwx,g::rx,o::x e; acl e; touch e/f; mkdir e/d; acl e/f; acl e/d; getfattr -m- e/f
say removing; setfacl -k d; acl d; touch d/after; acl d/after; setfacl -x u:1001 d; acl d; setfacl -b d
acl d
say errors
setfacl -d -m u:1001:r f; echo $?; setfacl -m u:1001:r d/l; echo $?; as 1002 setfacl -m u:1002:rw f
setfattr -n system.posix_acl_access -v 0x0100000001000600ffffffff f
setfattr -n system.posix_acl_access -v 0x02 f; setfattr -n system.posix_acl_access -v 0x02000000 f; echo $?
setfattr -n system.posix_acl_access -v 0x0200000001000600ffffffff04000600ffffffff f
setfattr -n system.posix_acl_default -v 0x0200000001000600ffffffff04000600ffffffff20000600ffffffff f
setfattr -x system.posix_acl_access f; echo $?; setfattr -x system.posix_acl_default f; echo $?
setfattr -x system.posix_acl_default d; echo $?
setfattr -n system.posix_acl_access -v 0x f; echo $?
say set-group-id
mkdir s; chown 1001:2000 s; chmod 2775 s; as 1001 sh -c 'umask 002; touch s/f; mkdir s/d'
stat -c '%a %g' s/f s/d
as 1001 setfacl -m u:5:r s; stat -c %a s; chmod 2775 s
setpriv --reuid 1001 --regid 1001 --groups 2000 setfacl -m u:5:rwx s; stat -c %a s; chmod 2775 s
setfacl -m u:5:r s; stat -c %a s
say groups of the caller
mkdir g; chown 0:3000 g; chmod 770 g; as 1001 touch g/x
setpriv --reuid 1001 --regid 1001 --groups 3000,4000 touch g/x; stat -c '%u %g' g/x
chmod 2770 g;  setpriv --reuid 1001 --regid 1001 --groups 3000,4000 touch g/y; stat -c '%u %g' g/y
setpriv --reuid 1001 --regid 1001 --groups 3000,4000 chgrp 4000 g/y; stat -c '%g' g/y
as 1001 chgrp 4000 g/y
setfacl -m g:4000:rwx g; setpriv --reuid 1002 --regid 1002 --groups 4000 touch g/z; as 1002 touch g/w
stat -c '%u %g' g/z
say search; mkdir -p p/q; echo s > p/q/f; chmod 700 p; as 1001 cat p/q/f; setfacl -m u:1001:x p
as 1001 cat p/q/f;  as 1001 ls p; setfacl -m u:1001:rx p; as 1001 ls p
say group class; echo x > h; chown 0:3000 h; chmod 660 h; setfacl -m g:4000:r h; as 4000 cat h
as 4000 sh -c 'echo >> h'; setpriv --reuid 9 --regid 4000 --groups 3000 sh -c 'echo >> h'; echo $?
say copies; setfacl -m u:7:rwx,g:8:r f; setfacl -d -m u:7:rwx e
cp -a f f2; acl f2; cp -a e e2; acl e2; cp -p f f3; acl f3; mv f2 f4; acl f4; cp f f5; acl f5
cp -a e d/x; acl d/x; acl d/x/f
tar --acls --xattrs -cf $archive f e; mkdir un; tar --acls --xattrs -xpf $archive -C un; acl un/f
acl un/e; acl un/e/d
rsync -aAX f e un2/; acl un2/f; acl un2/e; rsync -aAXi f e un2/
say many; args=u:1:r; for i in $(seq 2 100); do args=$args,u:$i:r; done; setfacl -m $args f
getfacl -pcn f | wc -l; chmod 600 f; setfacl -b f; acl f
say list; setfattr -n user.a -v 1 f; setfattr -n trusted.b -v 2 f; setfacl -m u:5:r f
getfattr -m- f | sort; chmod 644 f;  as 1001 getfattr -m- f
say chown; setfacl -m u:6:rw f; chown 1001:1001 f; acl f; chmod u+s,g+s f; chown 0:0 f; acl f
say told; ls -l f | cut -c1-11
