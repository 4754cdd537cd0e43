# What reads do to access times, in the words of stat(1): run in a folder, it says the same on any file
# system that is mounted with relatime. $1 is the folder.

cd "$1"

atime() { stat -c '%.9X' "$1"; }

# Some clocks of file times stand still for a few milliseconds.
tick() {
    touch tick
    local before
    before=$(stat -c '%.9Y' tick)
    until touch tick && [ "$(stat -c '%.9Y' tick)" != "$before" ]; do :; done
}

# says NAME WHAT COMMAND...: whether the access time of NAME moves, and whether it is later than its
# other times then.
says() {
    local name=$1 what=$2 before after
    shift 2
    tick
    before=$(atime "$name")
    "$@" > said 2>&1
    after=$(atime "$name")
    local moved=stays order=older
    [ "$before" = "$after" ] || moved=moves
    if [ "$(printf '%s\n' "$after" "$(stat -c '%.9Y' "$name")" | sort -n | tail -1)" = "$after" ]; then
        [ "$after" = "$(stat -c '%.9Y' "$name")" ] || order=newer
    fi
    echo "$what: $moved, $order than the content: $(tr '\n' ' ' < said)"
}

# Pages of a file that are kept are read without asking the file system.
anew() { dd if="$1" iflag=nocache count=0 status=none; cat "$1"; }
add() { echo more >> f; }
rename() { mv f g && mv g f; }
nothing() { :; }

echo hello > f
says f 'a new file' nothing
says f 'read' cat f
says f 'read again' cat f
says f 'read again, from the file system' anew f
says f 'written' add
says f 'read after a write' cat f
says f 'read again after a write' anew f
says f 'chmod' chmod 600 f
says f 'read after a chmod' anew f
says f 'read again after a chmod' anew f
says f 'renamed there and back' rename
says f 'read after a rename' anew f
says f 'a name added' ln f g
says f 'read under another name' anew g
says f 'touch -a' touch -a -d '2020-02-02 02:02:02.123456789' f
stat -c '%x' f
says f 'read after touch -a' anew f
says f 'touch -m' touch -m -d '2020-02-02 02:02:02.123456789' f
says f 'read after touch -m' anew f
says f 'touch -a into the future' touch -a -d '2100-01-01' f
says f 'read then' anew f
touch f
says f 'read without access time' dd if=f iflag=noatime,nocache status=none
says f 'read with it' dd if=f iflag=nocache status=none
: > empty
says empty 'nothing to read' stat -c '%s' empty
head -c 300000 /dev/zero > large
says large 'a part of a large file' sh -c 'dd if=large iflag=nocache count=0 status=none; head -c 10 large | wc -c'
says large 'another part of it' sh -c 'tail -c 10 large | wc -c'

says f 'copied without access time' dd if=f iflag=noatime of=copy status=none
touch f
says f 'copied' cp f copy
says f 'copied again' cp f copy

mkdir d
says d 'a new directory' nothing
says d 'looked into' test ! -e d/x
says d 'listed' ls d
says d 'listed again' ls d
says d 'a name made in it' touch d/x
says d 'listed after that' ls d
says d 'listed again after that' ls -1 d
says d/x 'a listed file' nothing
says d 'found through it' cat d/x
rm d/x
says d 'listed after a removal' ls d

ln -s f l
says l 'a new link' nothing
says l 'its target read' readlink l
says l 'its target read again' readlink l
ln -s f m
says m 'followed' head -c 3 m
says m 'followed again' head -c 3 m
