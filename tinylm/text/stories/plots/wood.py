"""Plots with animals of the wood, the pond and the farm."""

from tinylm.text.stories.plots.plot import Plot
from tinylm.text.stories.words import (
    big_animals,
    colours,
    creatures,
    farm_animals,
    farm_birds,
    foods,
    kinds,
    shouts,
    wishes,
)

PLOTS = (
    Plot(
        "the-winter-store",
        {"hero": creatures, "kind": kinds, "friend": creatures, "kin": kinds, "food": foods},
        """
<meet-animal>

[All summer|All autumn], {hero.he} gathered {food} <burrow-spot>, while {friend} the {kin} [danced|sang|slept] with <a look> <bird>.

<Winter> came, <weather-cold> and long. {Friend} had <a made> <odd>, <a made> <odd-2> and nothing to eat.

<Animal-knock>. "[Please|Could you], {hero}," <friend-says>, "[may I have|can you lend me] [a bite|a few] of your {food}?"

{Hero} felt <cross>. "[And what|What] did you do before?" <asked> {hero}. "[I made|I only made] <tale> songs," <friend-says>.

//

"[Then sing|Sing], and [eat|share] with me," <hero-says>. "[It is|The nights are] so [long|quiet] here."

<supper>

{Friend} sang about <a look> <bird>, <a size> <beast-2> and <a colour> <flower>, until the {kind.home} smelled of <scent>.

[Next summer|The next year], {friend} [helped|dug|gathered] <carefully>, and {hero} learned <a tale> song.
""",
    ),
    Plot(
        "the-duckling-and-the-pond",
        {"hero": creatures, "friend": creatures, "kin": kinds, "colour": colours},
        """
On <a cosy> pond [by|near|behind] the <waters> lived <a trait>, <furry-bird> duckling [called|named] {hero}.

[All the others|{Hero.his} [brothers|sisters]] swam, but {hero} stood on <a made> stone and felt <afraid>.

{Friend} the {kin} [lay|sat] in the sun. "[Why don't|Don't] you swim?" <asked> {friend}.

"[What if I|I might] sink like <a made> <odd>," <hero-says>, and <gloom>.

"<Comfort>," <friend-says>. "I swim like <a look> <beast>. [Put in|Dip in] one toe [today|now]."

//

[So on|On] <weekday> it was one toe, [then|soon] both feet, and then {hero.he} stood in the pond up to {hero.his} {colour} [beak|tail|belly].

<Suddenly>, <a look> <bird> dropped <a made> <odd-2> [on|into] the water. A wave came, and {hero.he} [floated|drifted|bobbed]!

<glad-beat>

{Hero.he} swam <carefully>, around <a cosy> island, past <a colour> <flower> and back to {friend}.

<picnic>

[Now|Today] <a look> gosling stands on the <made> stone. "[Put in|Dip in] one toe," <hero-says>.
<night>
""",
    ),
    Plot(
        "the-thorn",
        {"hero": creatures, "kind": kinds, "friend": creatures, "giant": big_animals},
        """
<meet-animal>

<One-day>, behind <a cosy> <tree> tree lay {friend} the {giant}, [groaning|moaning|sobbing] <softly-plain>.

{Hero} felt <afraid>, for {friend} had teeth like <a made> [rake|fence|saw|piano].

"[Go away|Leave me]!" {friend} <growled>. "[A thorn is|There is a thorn] in my [foot|paw|heel], as long as <a made> [sword|needle|pencil|nail]."

//

"[I am small|Small hands are good|Hold still]," <hero-says>. "[Think of|Look at] <a look> <bird> and [count|sing]."

{Hero.he} [took|fetched] <a made> <odd-2>, tied <a made> [string|vine] around the thorn and [pulled|tugged] <carefully>. [Plop|Pop]! Out it [came|flew].

"<Thanks>!" <friend-says>. "[I am|They say I am] big, but you are <trait> and <furry>."

<glad-beat>

<One-night>, <weather-bad> Who [came|stood there], as warm as <a made> stove? {Friend} the {giant}.

{Hero} slept [behind|beside] <a size> ear and dreamed of <a look> <bird> with <a colour> [hat|scarf|boat|fiddle].
<supper>
""",
    ),
    Plot(
        "the-hedgehog-and-the-balloon",
        {"hero": creatures, "friend": creatures, "kin": kinds, "colour": colours},
        """
In <a town-wood> lived {hero}, <a trait>, <furry> hedgehog. Each balloon that {hero.he} [hugged|touched|kissed] went [bang|pop|puff].

<One-day>, {a colour} balloon with <a made> <odd> on its string [came|drifted] from <a town>, and {hero} felt <afraid> to go near it.

//

{Friend} the {kin} [came|passed] by with <a made> <odd-2>. "[Why so|So] <sad-so>?" <asked> {friend}.

"[I have|I wear] [a thousand|six thousand|too many] prickles," <hero-says>.

"<Comfort>," <friend-says>, and put something on every prickle: <a tasty> <fruit>, <a look> leaf, <a colour> <flower> and <a size> <bake>.

Now {hero} looked like <a look> <beast-2> and [hugged|kissed] the balloon <carefully>. It [stayed|was] whole! <glad-beat>

They flew the {colour} balloon over the <cosy> [hills|trees|roofs|fields] until [dusk|noon|<weekday>].

[It hangs|It lives] in the <cosy> [hole|den|nest] of {hero} now, next to <a made> [lamp|shelf|clock].
<dream>
""",
    ),
    Plot(
        "the-slow-race",
        {"hero": creatures, "kind": kinds, "friend": creatures, "colour": colours},
        """
<meet-animal>

<One-day>, there was a race to the <cosy> [mill|bridge|hill|lake] for {a colour} [cup|medal|ribbon|crown]. [Against|Next to] {hero} stood {friend} the hare, <trait> and <furry>.

"[I will be|I am] first," <friend-says>. [Ready, steady|One, two, three], go!

{Friend} <ran> ahead like <a look> <bird>. {Hero} <ran> [behind|after], past <a colour> <flower>, <a size> <bug> and <a cosy> <tree> tree.

<Suddenly>, <a look> <bird> cried. It was caught in <a made> [net|fence|sack|basket].

//

{Hero} [stopped|turned back] and [freed|untied] the bird <carefully>.

[Farther on|A mile later], {friend} the hare lay in <a cosy> ditch with a [twisted|sore|hurt] foot. "<Oh-no>!" <friend-says>. "[Run on|Go on] without me."

"<Comfort>," <hero-says>, and [lifted|pulled|pushed] {friend.him} onto <a made> [cart|sledge|plank|wheelbarrow].

They came in last, behind <a look> [snail|toad|tortoise], but the <look> <birds> [cheered|sang] the loudest.

"[Here|Take it]," <friend-says> [next day|that evening], and [gave|handed] {hero} {a colour} [badge|flag] with <a made> <odd>.
<glad-beat>
""",
    ),
    Plot(
        "the-bear-who-could-not-sleep",
        {"hero": creatures, "friend": creatures, "kin": kinds, "food": foods},
        """
In <a town-wood> lived {hero}, <a trait>, <furry> bear, who could not fall asleep for the winter.

{Hero.his} bed was as hard as <a made> <odd-2>, <a look> <bird> sang, and {hero.he} thought about {food}.

{Hero.he} counted <look> <birds>, drank <drink> and [hung up|moved] <a made> [curtain|pillow|blanket|lamp], and felt <cross>.

<Animal-knock>. It was {friend} the {kin}, with <a made> <odd>. "[I cannot|I can't] sleep [either|alone]," <friend-says>.

//

"[What do|And what do] you think about?" <asked> {hero}. "[About|Of] <scent> and <scent-2>," <friend-says>. "And you?" "Of {food}," <hero-says>.

So they cooked [a pot|a pan|a bowl] of {food} with <spice>, and ate it with <tasty> bread and <spread>.

{Friend} told <a tale> story about <a look> <beast>, <a size> <beast-2> and <a colour> <flower>. {Hero} [yawned|blinked] once, twice and [again|three times].

<night>

[They slept|Both slept] until <spring-month>, back to back, like <a made> [pair|bundle] of [boots|socks|mittens].
[Then at last|At last] {hero} slept, and {friend} snored like <a size> <beast>.
""",
    ),
    Plot(
        "the-lost-croak",
        {"hero": creatures, "friend": creatures, "kin": kinds, "colour": colours},
        """
On <a cosy> pond by the <waters> lived {hero}, <a trait>, <furry-bird> frog with a voice like <a made> [trumpet|tuba|drum|door].

<One-day>, {hero.his} croak was gone. Out came only <a size> [bubble|squeak|sigh|puff].

<sad-beat>

{Hero.he} <looked> <pond-spot>, asked <a look> <bird> and <a size> <bug>, and [gargled|drank|swallowed] <drink>.

{Friend} the {kin} [came|swam|paddled] along. "When did you use it last?" <asked> {friend}. {Hero} wrote: [all night|all day and all night].

//

"[Then it is|It is only] tired," <friend-says>. "[Let it|It must] sleep. [Listen|Just listen] a little."

[So for|For] [three|four|five] days {hero} heard <a look> <bird>, the wind in <a cosy> <tree> tree, and the <tale> hum of <a size> <bug>.

<Suddenly>, on <weekday>, {hero} [hiccuped|sneezed|yawned], and [there it was|out it came]: "[Quork|Croak|Brekekek]!" <glad-beat>

[Now the|Today the] frog wears <a size> {colour} scarf, and {friend} [beats|plays] <a made> [drum|spoon|banjo|can].
[Now the|Today the] frog listens first, and the {colour} evenings are full of <tale> [songs|voices].
""",
    ),
    Plot(
        "the-owl-and-the-spectacles",
        {"hero": creatures, "friend": creatures, "kin": kinds, "colour": colours},
        """
In <a town-wood> lived {hero}, <a trait>, <furry-bird> owl, who [bumped|flew] into <a made> [branch|gate|wall|chimney] every night.

{Hero.he} felt <cross>. On <weekday> {hero.he} even [hugged|kissed|greeted] <a made> <odd-2> and called it "[mother|uncle|doctor|sir]."

{Friend} the {kin} [saw|watched] it from the {kin.home}. "[I think|Perhaps] you cannot see well," <friend-says>.

"[Nonsense|Rubbish|Ridiculous]! I see <a look> <beast> [there|over there]," <hero-says>. It was <a colour> <flower>.

//

{Friend} found two <made> [bottles|jars|lamps] and <a made> [wire|spring|fork] and [made|built|bent] {colour} spectacles <carefully>.

{Hero} put them on. "<Wow>!" <hero-says>. "[There is|I see] <a look> <bird>, <a size> <bug>, <a cosy> <tree> tree, and [stars|the stars], [so many|all those] stars!"

<glad-beat>

"[And you|You]," {hero} told {friend}, "are [not a bush|no bush] at all, but <a trait>, <furry> {kin}."

[Now the|Today the] owl reads <made> [books|letters|maps] by moonlight, and {friend} listens with <tasty> <fruit> <bake-s>.
<night>
""",
    ),
    Plot(
        "the-dry-summer",
        {"hero": creatures, "kind": kinds, "friend": creatures, "farm": farm_animals},
        """
<meet-animal>

It had not rained since <month>. The <cosy> [brook|well|pond] was dry, <a colour> <flower> hung its head, and <a look> <bird> drank from <a made> [spoon|can|thimble|bucket].

"[We must|We will have to] leave," said {friend} the {farm}, feeling <sad>.

<One-night>, {hero} saw <a size> <bug> [crawl|creep] out from <outdoor-spot>, and its feet were [wet|muddy|damp].

//

{Hero} began to dig <carefully> with <a made> <odd-2>. "[What are you|Whatever are you] doing?" <asked> {friend}. "[Following|I follow] <a look> bug," <hero-says>.

{Friend} [laughed|smiled], but soon {friend.he} dug, too, with <a trait> [toad|goose|lamb|mole] and <a trait-3> [lizard|rat|newt|crow].

They dug until <weekday>, past <a made> <odd>, past <a made> [bone|root|shoe|plate] and past <a size> stone.

[Gurgle|Glug|Splash]! Water [sprang|bubbled|shot] up, as <cold-so> as [winter|glass|silver]. <glad-beat>

[They named|They called] the spring [after|for] the bug, and every {farm} and every {kind} [drinks|drank] there.
<picnic>
""",
    ),
    Plot(
        "the-fallen-nest",
        {"hero": creatures, "kind": kinds, "bird": farm_birds, "colour": colours},
        """
<meet-animal>

<One-night>, <weather-bad> In the morning, in a nest <outdoor-spot> [sat|cried] <a size>, <furry-bird> {bird} with {colour} [down|feathers|wings].

"[Mama|Are you Mama]?" [asked|peeped|chirped] the {bird}. "<Oh-no>," <hero-says>. "[I am only|I am just] {a kind}."

{Hero} wrapped it in <a made> [scarf|sock|mitten|cap] and fed it <tasty> <fruit> and {kind.food}.

The {bird} slept next to <a made> <odd> and <a made> <odd-2>.

//

<One-day>, it <gloom-bird>. "[It wants|You want] to fly," <hero-says>, and {hero.he} felt <sad-so>.

{Hero} [climbed|crept] onto <a made> [stump|wall|barrel|stone] and [jumped|leapt], to show how it is done. [Thud|Bump|Plop]!

The {bird} laughed so much that it flew, over <a colour> <flower>, over <a cosy> <tree-2> and up to the <colour> [sky|clouds].

<sad-beat>

But every <spring-month>, <a made> present lies at the {kind.home}, from {a bird} with {colour} wings.
""",
    ),
    Plot(
        "the-bridge-of-friends",
        {"hero": creatures, "kind": kinds, "friend": creatures, "kin": kinds, "colour": colours},
        """
<meet-animal>

Across the river lived {friend} the {kin}, <trait> and <furry>, with {a colour} [lamp|flag|chair|kite].

They [waved|nodded|whistled] each [morning|evening], but neither could swim. <sad-beat>

{Hero} threw <a made> <odd> with a letter. <A look> fish [ate|swallowed] it.

<think-beat>

//

"[I bring|I will bring] a [stone|log] every day," {hero} [called|shouted]. "[And I|I, too]!" [called|shouted] {friend}.

They [carried|rolled|pulled] stones <carefully>, past <a look> <bird> and past <a colour> <flower>.

<A trait> [beaver|badger|toad|goose] brought <a made> [plank|pole|rope|beam], and <a trait-3> [mole|otter|swan|rat] brought <a made> hammer.

[On a|One] <weekday> in <month>, {hero} laid <a colour> stone, {friend} laid <a made> one, and they met in the middle.

<glad-beat>

<picnic>

[There is|They hung] {a colour} [lamp|flag] on the bridge now, and below it swims <a look> fish with <a made> [hiccup|belly|smile|letter].
[Under|Below] the bridge, <a look> fish still reads <a tale> letter.
""",
    ),
    Plot(
        "the-painted-snail",
        {"hero": creatures, "friend": creatures, "kin": kinds, "colour": colours},
        """
Under <a colour-3> <flower> in <a town-wood> lived {hero}, <a trait> snail with <a size> grey house.

"[I am as|I look as] grey as <a made> [road|bucket|stone|sock]," <hero-says>, and <gloom>.

{Friend} the {kin} had <a made> brush and a pot of {colour} paint. "[Shall I|May I] help?" <asked> {friend}.

[Soon|By noon] the house was {colour} with <colour> [stripes|dots|stars|swirls], <a made> door and <a size> picture of <a look> <beast>. <glad-beat>

//

But <suddenly>, the shadow of <a look> [crow|heron|magpie|stork] fell on the {colour} house.

{Hero} felt <afraid> and [crept|crawled] into <a made> [pipe|log|pot|boot]. "[Where is|What was] that <colour> berry?" [croaked|asked|grumbled] the bird.

[Then it|It] [rained|poured], and the paint ran off, onto <a colour> <flower>, <a look> stone and <a size> <bug>.

{Hero} was as grey as the stones, and the bird saw only <made> pebbles.

"[Grey is|It is] my [magic|cloak]," <hero-says>, and {friend} painted the walls [inside|indoors] instead: {colour}, with <a size> <beast-2> and <a made> [lamp|window|ship|sun].
<dream>
""",
    ),
    Plot(
        "the-firefly-lantern",
        {"hero": creatures, "friend": creatures, "kin": kinds, "colour": colours},
        """
In <a town-wood> lived {hero}, <a trait> firefly with the <size> light of <a made> [pin|match|spark|crumb]. It was {colour}.

"[What good|Of what use] is [such a|a] light?" [laughed|said] <a look> <bird>. <sad-beat>

<One-night>, {friend} the {kin} lost the way to the {kin.home}. {Friend} had <a made> <odd-2>, <a tasty> <fruit> <bake> and no lamp.

{Friend} called <a look> <bird> and <a look> [owl|fox|deer|bat], but [nobody|no one] [came|answered].

//

Then there was {a colour} [dot|spark|glow] <outdoor-spot>. "[It is only|That is] me," <hero-says>. "[My light|It] reaches just one step."

"[One step|A step] is enough," <friend-says>.

They went around <a cosy> <tree> tree, over <a made> [bridge|log|stone|root] and past <a look> <beast> that was only <a made> [bush|stump|cart|rock].

<A look> [mouse|toad|hen|lamb] and <a size> <bug> [followed|came along].

<supper>

"[So that|That] is what it is for," <hero-says>, and {hero.his} light shone like <a made> [star|lamp|window|moon].
""",
    ),
    Plot(
        "the-echo",
        {"hero": creatures, "kind": kinds, "friend": creatures, "kin": kinds, "shout": shouts, "wish": wishes},
        """
<meet-animal>

<One-day>, {hero.he} [was|felt] <cross> and shouted at the <cosy> mountain: "{Shout}!"

"{Shout}!" shouted the mountain. {Hero} [threw|hurled] <a made> <odd>, and it [rolled|bounced|came] right back.

{Hero.he} <ran> home, and <gloom>. "[Somebody|A giant] [hates|dislikes] me," {hero.he} told {friend} the {kin}, <trait> and <furry>.

<think-friend>

//

"[Go|Go back], and take <a tasty> <fruit> cake," <friend-says>. "[And say|Say] something <tale-nice>."

<passing>

"I like {wish}!" [called|sang] {hero} <softly-plain>. "{Wish}!" [cried|laughed|sang] the mountain.

{Hero} felt <glad>. {Hero.he} put down the cake for the giant, and <a look> <bird> [ate|tasted|took] it.

"[The world|A mountain] is <a made> mirror," <friend-says> over <a tasty> <vegetable> pie. "[It gives|You get] back what you [bring|shout]."
<night>
""",
    ),
)
