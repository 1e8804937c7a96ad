"""Plots in the street, at school, by the sea and in the snow."""

from tinylm.text.stories.plots.plot import Plot
from tinylm.text.stories.words import (
    boats,
    children,
    colours,
    grown_ups,
    guests,
    kites,
    neighbours,
    pets,
    places,
    roles,
    treats,
)

PLOTS = (
    Plot(
        "the-kite-in-the-tree",
        {"hero": children, "friend": children, "colour": colours, "kite": kites, "place": places},
        """
<meet>

<One-day>, {hero} [flew|tried out] <a made> {colour} {kite} {place.at}, high above <a look> <bird> and <a cosy> [roof|hill|bridge|chimney].

<Suddenly>, the string [tore|broke|snapped], and the {kite} [landed|got stuck] in <a cosy> <tree> tree.

<sad-beat>

{Hero.he} threw <a made> <odd>, then <a made> [shoe|ball|hat|stick], but in vain.

//

<Friend-came>, with <a made> [ladder|fishing rod|rope|rake|broom]. "<Comfort>," <friend-says>. "[You hold it|Hold it|You push] and I [climb|pull|reach up]."

They worked <carefully>, until <a look> <bird> [complained|scolded|flew off] and the {kite} [slid|fell|sailed] down.

<glad-beat>

"Your turn," <hero-says>, and {friend} <ran> off with the {kite}.

<picnic>

The <made> [shoe|ball|hat|stick] is still up there, and <a look> <bird> lives in it.
In the tail of the {colour} {kite} there are two knots now: {hero} and {friend}.
""",
    ),
    Plot(
        "the-sandcastle",
        {"hero": children, "friend": children},
        """
<meet>

<One-day>, {hero} built a sandcastle at the <cosy> beach, with <a made> [tower|gate|wall|bridge], <a colour> flag and <a look> crab [for a|as] [king|guard|cook|queen].

<A size> wave [came|rolled in], and [whoosh|swish|splash], the castle was [gone|flat]. <sad-beat>

//

<Friend-came>. "<Wow>, what <a made> [lake|moat|harbour]!" <friend-says>.

{Hero} looked [again|once more]: the puddle [shone|glittered] like <a made> mirror.

[So|And so] they built a harbour <carefully>, with [shells|corks|driftwood] for ships, <a made> [spoon|comb|feather|bottle] for a lighthouse and <a look> <bird> on the pier.

The next wave only filled the harbour, and the ships [danced|sailed|rocked]. <glad-beat>

<picnic>

"[Tomorrow|Then] we will build <a made> [palace|zoo|station|volcano]," <hero-says>.
"The sea brought me a harbour and <a trait> friend," <hero-says>.
""",
    ),
    Plot(
        "the-bicycle",
        {"hero": children, "elder": grown_ups, "colour": colours, "place": places},
        """
<meet>

For {hero.his} birthday, {hero.he} got <a made> {colour} bicycle with <a made> bell and <a made> [basket|lamp|saddle|horn].

<One-day>, {hero.he} [pushed|took] it to {place} with {elder}, pedalled <carefully>, and [bump|crash|thud]! {Hero.he} fell into <a cosy> [hedge|pond|haystack].

<sad-beat>

"<Comfort>," <elder-says>. "I crashed [seven|nine|twenty|a hundred] times, once into <a look> <beast>."

//

{Hero} [tried|got on] again, past <a look> [dog|goat|goose|cow] and around <a cosy> <tree> tree.

But {elder} let go and stood far behind, waving <a made> [hat|umbrella|handkerchief|scarf].

{Hero.he} was riding [alone|all by {hero.himself}]! <glad-beat>

{Hero.he} forgot the brakes and landed in <a cosy> [hedge|pond|haystack], but [now|this time] {hero.he} [laughed|giggled|grinned].

<supper>

Ever since, the {colour} bicycle has [carried|brought] {hero} to {place} and <tasty> <bake-s> to {elder}.
""",
    ),
    Plot(
        "the-message-in-a-bottle",
        {"hero": children, "friend": children, "colour": colours},
        """
<meet>

{Hero.he} lived on <a cosy> island with <a look> goat and often felt <sad>.

<One-day>, {hero.he} wrote on <a made> page: "[Who are you|Is anybody there]? I like <loved-too>," and put it in {a colour} bottle with <a made> <odd>.

The bottle [bobbed|drifted|danced] past <a look> <bird>, past <a size> <sea-thing> and around <a cosy> cape.

{Hero} <looked> <shore-spot> [each day|all summer|all winter], but found only <a made> [shoe|rope|barrel|plank] and <a look> [crab|starfish|gull|shrimp].

<sad-beat>

//

<One-day>, in <a made> boat [came|sailed] <a trait>, <build> {friend.child} with {a colour} bottle.

"[I am|My name is] {friend}. I like <loved-too-2>," <friend-says-no-name>.

<glad-beat>

<supper>

{Friend} [stayed|remained] until <weekday> and [came|was] back [every month|every summer|soon].
Now a lamp [blinks|winks] to {hero} across the <colour> water [every|each] [evening|<weekday>].
""",
    ),
    Plot(
        "the-school-play",
        {"hero": children, "friend": children, "role": roles, "colour": colours},
        """
<meet>

In the school play, {hero} was {a role} with {a colour} [cloak|hat|beard|crown] and <a made> <odd-2>. {Hero.his} line was: "<play-line>."

{Hero.he} practised it [before|in front of] <a look> [cat|dog|hamster|goldfish], <a made> mirror and <a cosy> <tree> tree.

<One-day>, the <made> curtain [opened|went up]. {Hero} felt <afraid>, and {hero.his} head was as empty as <a made> [bucket|drum|bottle|barrel].

<sad-beat>

//

{Friend} was the back of <a look> [horse|donkey|cow|camel]. "<Comfort>," whispered the [beast|animal] <softly>. "[Think of|Imagine] <a tasty> <fruit> <bake>."

"[I forgot|I have forgotten] my line," {hero.he} <said>, "but {a role} with <a made> <odd> and <a trait> friend needs [no line|none]."

The crowd [laughed|cheered|roared], and <a look> baby [clapped|threw <a made> hat]. <glad-beat>

Then {hero} and {friend} danced <carefully>, until the <look> [tail|head|nose] fell off.

[And in|In] bed that night, the line came back: "<play-line-2>."
[Next year|In the next play], {hero} wants to be the [back|front] of <a look> <beast>.
""",
    ),
    Plot(
        "the-snowman",
        {"hero": children, "friend": children, "colour": colours, "guest": guests},
        """
<meet>

<One-snow>, {hero} and <a trait>, <build> {friend.child} [called|named] {friend} built <a size> snowman with <a made> hat, <a made> [broom|spade|umbrella|cane] and {a colour} scarf.

For the nose they had <a tasty> <vegetable-3>, but [by noon|after lunch] it was [gone|missing|eaten].

"<Oh-no>! [Who did this|Who took it|Was it you]?" {friend} <said>, feeling <cross>.

They [tried|took] <a made> <odd>, but the next [day|morning] it was gone [as well|too].

//

They hid <outdoor-spot>. <Soon>, {a guest} came through the snow, thin and <sad-so>.

"[It is|It must be] hungry," <hero-says>. They [brought|fetched] hay, <a tasty> <vegetable-3> and <tasty> bread with <spread>.

[From then on|After that], the snowman kept <a made> <odd> for a nose, and <look> <birds> [came|dined] at his feet.

<night>

[In spring|In March], {a colour} scarf [hung|lay] in <a cosy> <tree> tree, and <a look> {guest} [slept|played] below.
""",
    ),
    Plot(
        "the-lemonade-stand",
        {"hero": children, "friend": children, "treat": treats, "colour": colours},
        """
<meet>

{Hero.he} wanted <a made> {colour} <odd-2>. So <one-day>, {hero.he} put up <a made> table and sold {treat}.

Across the road, <a trait>, <build> {friend.child} [called|named] {friend} sold {treat}, too.

"[Mine is|Here it is] <tasty>!" [called|shouted] {hero}. "[Mine is|Over here it is] <tasty-2>!" [called|shouted] {friend}. Both felt <cross>.

[By noon|By three], {hero} had sold [one|two|three], to <a look> [dog|goat|uncle|policeman]. <sad-beat>

//

<Suddenly>, <weather-turn> {Hero} <ran> across with <a made> umbrella. "[Quick|Come]," <hero-says>, "[there is|we have] room for two."

They [mixed|put together] all they had, with <fruit> [slices|juice|cream] and <spice>, and it was <tasty> [at last|indeed].

<Soon> there was a line of <trait> [sailors|bakers|cyclists|postmen|nurses|gardeners|painters], <trait-2> [aunts|uncles|twins|teachers|tailors] and <a look> [dog|goat].

"[Half|One half] for you, [half|and half] for me," <hero-says>.

It was [not enough|too little] for <a made> {colour} <odd-2>, but {friend} had one at home, and {friend} [shared|lent] it <softly>.
<glad-beat>
""",
    ),
    Plot(
        "lost-in-the-market",
        {"hero": children, "elder": grown_ups, "colour": colours},
        """
<meet>

<One-day>, {hero} went to the <cosy> market with {elder}, who wore {a colour} hat with <a made> [feather|ribbon|flower|cherry].

There were <tasty> <bake-s>, <colour> <flowers>, <a look> parrot and a man who [juggled|sold|polished] <made> [plates|bottles|spoons|shoes].

{Hero} [stopped|stood] to look at <a made> <odd>, and [then|suddenly] the {colour} hat was gone. {Hero.he} felt <afraid>, and <gloom>.

//

"Stay where you are," {elder} had always said. So {hero} stood [beside|next to] <a made> [barrel|fountain|cart|lamp], as still as <a look> <bird>.

<A trait>, <build> [baker|fishwife|flower girl|cheese seller] gave {hero.him} <tasty> bread with <spread>. "<Comfort>," [she said|said the kind soul] <softly>.

{Hero} [sang|whistled|hummed] <a tale> tune. <Suddenly>, somebody [sang|whistled|hummed] back, and there, behind <a look> [goat|donkey|goose], came {a colour} hat.

"<Wow>! [You waited|You stayed|You stood still]," <elder-says>.

<glad-beat>

They [bought|carried home] <a made> <odd-2> and one more {colour} hat, for {hero}.
""",
    ),
    Plot(
        "the-mural",
        {"hero": children, "neighbour": neighbours, "colour": colours},
        """
<meet>

<One-day>, by the house of {neighbour}, {hero} fell over <a look> [cat|hen|dog|tortoise] with a bucket of {colour} paint, and [splash|splat|whoosh]!

On the white wall [was|shone] <a size> {colour} [blot|splotch], like <a look> <beast>. <sad-beat>

{Neighbour} came out, looking <cross>, with <a made> [broom|spoon|newspaper|slipper]. "[My wall|My poor wall|My clean wall]!" {neighbour.he} [cried|shouted|groaned|gasped|sobbed|growled].

{Hero} scrubbed <carefully> [all day|until dusk|for hours], but the blot only [grew|spread] and [got|became] <look>.

//

<think-beat>

{Hero.he} [gave|painted] it <a size> [tail|nose|hat|wing], <a colour-2> eye and <a made> [boat|bicycle|trumpet|umbrella].

"<Wow>! [It looks|That looks] like my <trait> [sister|uncle|grandfather|teacher]," <neighbour-says>, and [laughed|giggled|chuckled]. "[Go on|Paint more|More, please]."

[By <weekday>|Within a week], the wall had <a look> <bird>, <a size> <beast-2> and <a cosy> <tree> tree full of <tasty> <bake-s>.

[People|Strangers] came from <a town> to see it. <glad-beat>
""",
    ),
    Plot(
        "the-stopped-clock",
        {"hero": children, "neighbour": neighbours, "place": places},
        """
<meet>

On <a cosy> tower near {place} there was <a made> clock, and {neighbour} wound it every <weekday>.

<One-day>, the clock [stopped|stood still]. The baker burnt the <tasty> <bake-s>, and <a look> rooster crowed at [noon|midnight].

"<Oh-no>," <neighbour-says>. "[My knees are|I am] too old for the <made> stairs."

"[I can|Let me|I will] climb," <hero-says>, although heights made {hero.him} feel <afraid>.

//

{Hero} took <a made> lantern and went up <carefully>, past <a look> bat, past <a made> bell and past <a size> <colour> spider.

Between the wheels sat <a look> <bird> on a nest, made of <colour> straw and <a made> <odd>, with [two|three|four|five] <look-egg> eggs.

{Hero.he} [moved|carried] the nest <indoor-ledge> <carefully>, and [tick, tock|ding, dong]! The clock [went|ran] again.

<glad-beat>

Now {hero} winds the clock at {place}, and {neighbour} brings <a tasty> <fruit> <bake> and <drink>.
""",
    ),
    Plot(
        "the-late-library-book",
        {"hero": children, "neighbour": neighbours},
        """
<meet>

{Hero.he} had borrowed <a made> book about <a look> <beast> from {neighbour}, who kept the <cosy> library.

<One-day>, months too late, {hero} found it <indoor-spot>, with [jam|cocoa|mud] on page [nine|twelve|forty|sixty]. <sad-beat>

{Hero} <ran> to the library. <passing>

//

"[It is late|I am late]," <hero-says>, "and [it is spotted|there is a stain]."

"[This spot|That spot] on page [two|three|five]," <neighbour-says>, "is from me, when I was [six|seven|eight]. It was <tasty> <fruit> <bake>."

{Hero} [stuck|sewed|glued] the <made> cover and [dusted|sorted|counted] <made> shelves until <weekday>.

[For thanks|As thanks], {neighbour} [lent|handed] {hero.him} <a tale> [story|atlas|poem|riddle] about <a size> <beast-2>.

<glad-beat>

And {hero} was never late again, except with the book about <a look-2> <beast>, which was too <tasty-3>.
""",
    ),
    Plot(
        "the-drifting-boat",
        {"hero": children, "friend": children, "boat": boats, "colour": colours},
        """
<meet>

<One-day>, {hero} and {friend}, <a trait>, <build> {friend.child}, [rowed|paddled] on the <cosy> lake in {a colour} {boat}, with <a made> <odd-2> and <a tasty> <fruit> <bake>.

"[I steer|I am the captain|I row]!" [cried|said] {hero}. "[No, I do|No, me]!" [cried|said] {friend}, and [splash|plop]! The oars were gone.

The {boat} [drifted|floated] past <a look> <bird>, <a cosy> island and <a size> [fish|frog|lily]. They felt <cross>, then <afraid>.

//

{Friend} held <a made> [broom|fishing rod|tent pole|umbrella], {hero} tied <a colour> blanket to it <carefully>, and the {boat} had <a made> sail.

[A breeze|The wind] [came|rose] that smelled of <scent>. {Hero} steered, {friend} watched, and [halfway|then] they swapped.

On the shore stood <a look> [cow|goat|pony|donkey] and their <trait> [fathers|mothers|grandmothers|aunts]. <glad-beat>

<supper>

[It is|It was] painted on the {boat} in <colour> letters: {hero} and {friend}, captains.
""",
    ),
    Plot(
        "the-silent-parrot",
        {"hero": children, "neighbour": neighbours, "pet": pets, "colour": colours},
        """
<meet>

{Neighbour} had {a colour} {pet} that [had not sung|never sang]. It sat in <a made> cage and looked <look>.

<One-day>, {neighbour} [went|sailed] to <a town>, and {hero} fed the {pet} with <fruit> and <tasty> bread.

{Hero} [played|tried] <a made> flute, told <a tale> joke about <a look> <beast> and danced with <a made> <odd-2>. The {pet} [only blinked|said nothing|stayed silent].

//

[At night|That evening], the {pet} looked at the <cosy> window, where <a look> <bird> sat in <a cosy> <tree> tree.

"You are not ill," <hero-says>. "You are [lonely|alone|homesick]."

{Hero.he} [pushed|carried] the cage to the window <carefully>, and the {pet} [began|started] to sing like <a made> [flute|bell|fiddle].

{Neighbour} came back. "<Wow>!" <neighbour-says>. "What did you feed it?"

"[A friend|Company|A view]," <hero-says>, and {hero.he} <joy>.

The cage holds <colour> <flowers> now, and the {pet} lives on the <made> [bookcase|clock|wardrobe|piano].
[Every evening|At dusk] the {pet} sings with <a look> <bird>.
""",
    ),
)
