"""The words of the stories: pools for the attributes of a story, and phrases that any plot may use.

A pool row is one value with its forms. A phrase is a list of alternatives, equally likely unless a weight (`@2`) is given, in the notation of `notation`.
Rules for whoever adds to them: no phrase may be the beginning of another followed by what can come next (the check in the tests finds it), every word is ASCII, and every phrase must be right after every word it can follow.
"""

from tinylm.text.stories.notation import table, words

# Who ------------------------------------------------------------------------------------------------------------------

_GIRLS = "Mia Ada Lily Nora Ruby Ella Ivy Zoe Clara Hana Priya Amina Sofia Freya Tess Wren Maya Leila Olive Greta June Pearl Rosa Yuki Esme Hazel Dora Kiki Lena Nina Thea Willa"
_BOYS = "Ben Sam Leo Max Tom Finn Omar Hugo Theo Ravi Jack Felix Noah Oscar Kofi Luca Emil Otto Arlo Milo Dev Hal Ezra Jonas Kai Nico Pablo Rafi Sven Toby Victor Yusuf"
children = table(
    "children",
    "name|he|him|his|himself|child\n"
    + "\n".join([f"{name}|she|her|her|herself|girl" for name in _GIRLS.split()] + [f"{name}|he|him|his|himself|boy" for name in _BOYS.split()]),
)

_GROWN_WOMEN = "Grandma|Mama|Nana|Aunt Rosie|Aunt Bea|Aunt Flora|Cousin Edith|Granny Plum"
_GROWN_MEN = "Grandpa|Papa|Uncle Ned|Uncle Walt|Uncle Bram|Cousin Piet|Grandpa Joe|Old Barnaby"
grown_ups = table(
    "grown_ups",
    "name|he|him|his|himself\n"
    + "\n".join([f"{name}|she|her|her|herself" for name in _GROWN_WOMEN.split("|")] + [f"{name}|he|him|his|himself" for name in _GROWN_MEN.split("|")]),
)

_NEIGHBOURS_SHE = "Mrs. Finch|Mrs. Okoro|Miss Poppy|Mrs. Lindqvist|Miss Tanaka|Mrs. Button|Mrs. Rossi|Miss Marigold|Mrs. Patel|Mrs. Thimble|Miss Juniper|Mrs. Haddock"
_NEIGHBOURS_HE = "Mr. Bell|Mr. Osman|Mr. Crumb|Mr. Silva|Mr. Pepper|Mr. Novak|Mr. Whistle|Mr. Dubois|Mr. Barley|Mr. Moss|Mr. Anchor|Mr. Fiddle"
neighbours = table(
    "neighbours",
    "name|he|him|his|himself\n"
    + "\n".join([f"{name}|she|her|her|herself" for name in _NEIGHBOURS_SHE.split("|")] + [f"{name}|he|him|his|himself" for name in _NEIGHBOURS_HE.split("|")]),
)

_SHE_NAMES = "Nutmeg Clover Daisy Pippa Tansy Maple Bramble Fern Willow Dot Acorn Velvet Honey Tilly Poppet Pebble Sorrel Minnow Juniper Sage Lark Dewdrop Marigold Posy"
_HE_NAMES = "Pip Biscuit Rusty Moss Basil Bumble Digby Thistle Twig Pickle Button Barley Rufus Oakley Puddle Tuft Bracken Mortimer Wilbur Ferdinand Humphrey Stanley Chester Gus"
creatures = table(
    "creatures",
    "name|he|him|his|himself\n"
    + "\n".join([f"{name}|she|her|her|herself" for name in _SHE_NAMES.split()] + [f"{name}|he|him|his|himself" for name in _HE_NAMES.split()]),
)

# Small furry animals of the wood: what they are, where they sleep, what they like best.
kinds = table(
    "kinds",
    """kind|home|food
    mouse|hole under the oak|cheese crumbs
    rabbit|burrow|crunchy carrots
    squirrel|nest in the pine tree|hazelnuts
    hedgehog|pile of leaves|ripe pears
    mole|tunnel|turnips
    badger|den under the hill|honeycomb
    otter|house on the riverbank|watercress
    fox|den behind the waterfall|blackberry jam
    raccoon|hollow log|corn on the cob
    dormouse|teapot in the hedge|acorn biscuits
    beaver|lodge on the lake|birch bark
    hare|bed of ferns|clover
    weasel|gap in the old wall|rose hips
    chipmunk|cave behind the roots|sunflower seeds
    shrew|boot by the fence|barley cakes
    vole|cellar below the willow|dandelion soup""",
)

# Things ---------------------------------------------------------------------------------------------------------------

colours = words("colours", "red|blue|green|yellow|purple|orange|pink|silver|golden|white|scarlet|turquoise|violet|brown|crimson|emerald|lilac|cream|indigo|copper")

toys = words(
    "toys",
    "teddy bear|wooden train|rag doll|toy boat|spinning top|toy rabbit|drum|music box|puppet|toy lion|marble|yo-yo|trumpet|rocking horse|toy whale|kaleidoscope"
    "|toy elephant|tin soldier|jigsaw puzzle|skipping rope|toy owl|whistle|bouncy ball|toy tractor",
)

gifts = words(
    "gifts",
    "button|feather|ribbon|seashell|pebble|acorn|bead|thimble|bell|marble|postcard|pinecone|key|coin|candle|pencil|buckle|walnut|bookmark|badge|bracelet|snow globe|stamp|mirror",
)

bowls = words("bowls", "bowl|vase|teapot|jug|pitcher|sugar bowl|honey jar|soup tureen|flowerpot|milk jug")

instruments = words("instruments", "drum|trumpet|violin|flute|accordion|tuba|banjo|xylophone|trombone|cello|bagpipe|saxophone|harmonica|oboe|mandolin|horn")

monsters = words("monsters", "monster|ghost|troll|goblin|giant|witch|bear|wolf|crocodile|ogre|pirate|vampire bat|dragon|spook|swamp beast|werewolf")

fruits = words("fruits", "apple|pear|plum|cherry|peach|strawberry|raspberry|blueberry|apricot|rhubarb|lemon|orange|blackberry|gooseberry|banana|coconut")

vegetables = words("vegetables", "carrot|potato|pumpkin|tomato|pea|leek|onion|mushroom|cabbage|bean|parsnip|lentil|spinach|celery|turnip|barley")

kites = words("kites", "kite|dragon kite|paper plane|box kite|balloon|glider|fish kite|parachute|eagle kite|star kite")

boats = words("boats", "canoe|raft|rowing boat|dinghy|kayak|punt|skiff|washtub|gondola|barge")

roles = words("roles", "king|pirate|wizard|baker|ghost|sailor|doctor|knight|shepherd|princess|detective|giant|astronaut|dragon tamer|lighthouse keeper|queen")

treats = words("treats", "lemonade|popcorn|ginger beer|apple juice|fudge|toffee|plum juice|roasted nuts|marzipan|nougat|cherry juice|candyfloss|iced tea|dried fruit|lemon ice|vanilla ice")

pets = words("pets", "parrot|canary|budgerigar|cockatoo|finch|nightingale|parakeet|starling|dove|macaw|myna bird|cockatiel")

foods = words("foods", "hazelnuts|blackberries|chestnuts|acorns|dried apples|honeycomb|sunflower seeds|mushrooms|turnips|barley cakes|rose hips|walnuts|cranberries|pine nuts|pears|carrots|oatcakes|plums|raisins|beechnuts")

big_animals = words("big_animals", "bear|wolf|elk|bison|stag|moose|boar|lynx|giant|ox|troll|mammoth|dragon|lion|tiger|elephant")

farm_animals = words("farm_animals", "donkey|goat|sheep|cow|pony|pig|rooster|goose|mule|horse|ram|turkey|ox|duck|dog|calf")

farm_birds = words("farm_birds", "robin|sparrow|swallow|thrush|finch|crow|starling|wren|magpie|lark|dove|cuckoo|blackbird|jay|raven|stork")

guests = words("guests", "hare|deer|rabbit|fox|badger|squirrel|hedgehog|goat|elk|mouse|raccoon|donkey")

shouts = words("shouts", "go away|be quiet|bah|leave me alone|out of my way|nonsense|get lost|shame on you|stop it|what do you want|humbug|rubbish")

wishes = words("wishes", "songs|stories|picnics|pancakes|parties|holidays|waltzes|riddles|jokes|cherries|sunsets|surprises")

flowers = words("flowers", "rose|tulip|poppy|lily|peony|dahlia|sunflower|iris|daisy|orchid|geranium|bluebell|primrose|marigold|violet|aster")

pots = words("pots", "kettle|teapot|cauldron|saucepan|jug|barrel|bathtub|bucket|milk jug|soup bowl|watering can|coffee pot")

spells = words("spells", "hocus pocus|abracadabra|simsalabim|fiddle-dee-dee|hokey pokey|zim zam zoom|bibble bobble|alaka zim|wimble wamble|hurly burly|mumbo jumbo|tickety boo")

# Places to go on foot.
places = table(
    "places",
    """the|at
    the park|in the park
    the beach|on the beach
    the old mill|by the old mill
    the meadow|in the meadow
    the duck pond|by the duck pond
    the market square|in the market square
    the orchard|in the orchard
    the harbour|at the harbour
    the library garden|in the library garden
    the apple farm|on the apple farm
    the stone bridge|by the stone bridge
    the playground|in the playground
    the station|at the station
    the pine wood|in the pine wood
    the windy hill|on the windy hill
    the castle ruins|among the castle ruins
    the rose garden|in the rose garden
    the canal|beside the canal
    the village green|on the village green
    the bakery|outside the bakery
    the fountain|next to the fountain
    the football field|on the football field
    the water tower|under the water tower
    the strawberry field|in the strawberry field""",
)

# Phrases --------------------------------------------------------------------------------------------------------------

PHRASES = {
    # Time and weather. "one-day" begins a sentence that does not depend on the weather.
    "weather": """sunny|breezy|misty|golden|cloudy|bright|quiet|chilly|warm|gentle|windy|grey|sleepy|lazy|crisp|clear|mild|hazy|fresh|blustery|drizzly|sparkling|peaceful|cool|foggy|balmy|gusty|soft|silent
        shimmering|radiant|pale|damp|dewy|still|glorious|gloomy|frosty|murky|brisk|sultry|airy|steamy|stormy|rosy|muddy|dreary|nippy|humid|hot|cold|dry|wet|dull|dim|velvety|blue
        lovely|merry|hushed|slow|dazzling|raw|mellow|wild""",
    "weekday": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
    "month": "January|February|March|April|May|June|July|August|September|October|November|December",
    "one-day": """one <weather> [morning|afternoon|evening|day] @2
        on <a weather> <weekday> [morning|evening] @2
        one <weather> <weekday> in <month> @2
        early one <weather> [morning|<weekday>]
        late one <weather> <weekday>""",
    "one-night": "one <weather> night|one <weather> night in <month>|late one <weather> <weekday> [evening|night]",
    "next-day": "the next [morning|day|afternoon]|the [morning|day] after|on <weekday>|the following <weekday>|when [morning|<weekday>] came|[two|three|four|five|six] [days|nights|weeks] later",
    "soon": """soon|before long|after a while|at last|a [moment|minute|little while|short while] later|[five|ten|twenty|thirty] minutes later|in the end|by and by|then|finally|in no time|presently
        eventually|sooner than expected""",
    "suddenly": "suddenly|all at once|just then|at that [very |]moment|all of a sudden|right then|out of nowhere|all in a flash|at once|in a flash|in an instant|that instant|there and then|unexpectedly",
    # Adjectives for people, of two kinds that go together; for feelings; for animals; for things; for places; for food.
    "trait": """kind|brave|curious|shy|cheerful|gentle|clever|patient|dreamy|lively|quiet|playful|thoughtful|careful|funny|stubborn|friendly|bold|merry|bouncy|honest|eager|polite|helpful|giggly|sensible
        busy|hopeful|daring|tidy|messy|noisy|cheeky|inventive|serious|restless|chatty|forgetful|generous|modest|jolly|nimble|determined|talkative|wise|calm|loyal|proud|fair|frank|neat|nosy|witty
        zany|sweet|sunny|silly|sly|smart|sincere|dutiful|fearless|graceful|happy|humble|jaunty|kindly|likeable|loving|musical|plucky|practical|prudent|quirky|resolute|shrewd|spirited|steady|tactful
        tender|tireless|trusty|zealous|charming|cordial|earnest|easygoing|fussy|gallant|grumpy|hardy|keen|moody|peppy|perky|posh|rowdy|stern|wistful""",
    "build": """tall|small|sturdy|skinny|freckled|bright-eyed|dark-haired|long-legged|barefoot|red-haired|sunburnt|soft-spoken|sharp-eyed|left-handed|gap-toothed|snub-nosed|dimpled|fair-haired|strong|wiry
        little|sleepy-eyed|smiling|whistling|broad|brown-eyed|chubby|elegant|fast|flushed|gangly|graceful|green-eyed|grey-eyed|lean|limber|lanky|long-nosed|loud|muddy|nimble|pale|petite
        plump|round|rosy|ruddy|slender|slim|sleepy|squinting|stout|swift|tanned|thin|young|yawning|agile|blond|bony|handsome|lively|muscular|pretty|scruffy|shaggy|singing|tousled|well-fed
        hungry""",
    "glad": """happy@2|glad|cheerful|delighted|pleased|joyful|merry|thrilled|overjoyed|light-hearted|contented|jolly|warm inside|full of sunshine|proud|lucky|grateful|like singing|like dancing|tickled pink
        ten feet tall|relieved|excited|peaceful|wide awake|brand new|cosy to the toes|like a king|wonderful|blissful|splendid|terrific|great|dreamy|giddy|hopeful|elated|ecstatic|amused|cheery|chirpy
        festive|free|fine|fortunate|gleeful|jubilant|lively|mellow|playful|radiant|rosy|satisfied|serene|snug|sunny|tickled|triumphant|upbeat|bold|calm|strong|warm|safe""",
    "glad-so": "happy@2|glad|delighted|pleased|joyful|thrilled|proud|grateful|excited|relieved|cheerful|merry|overjoyed|jolly|surprised",
    "sad": """sad@2|unhappy|gloomy|miserable|lonely|downcast|sorry|heartbroken|disappointed|tearful|lost|blue|wretched|troubled|glum|small|forlorn|dreadful|upset|hopeless|helpless|crushed|sorrowful|dismal
        awful|like crying|like hiding|hollow|bitter|crestfallen|woeful|mournful|empty|low|dull|cold|tired|weepy|grey|bad|terrible|alone|ashamed|bleak|broken|defeated|desolate|discouraged|hurt
        regretful|rotten|sombre|sore|stricken|unlucky|weary|foolish|guilty|confused|pale|shaken|torn|weak|dejected|despairing|numb""",
    "sad-so": "sad|unhappy|gloomy|miserable|lonely|disappointed|glum|wretched|forlorn|upset|small|sorry|hopeless|downcast|troubled|crestfallen",
    "afraid": """afraid|scared|frightened|nervous|worried|anxious|uneasy|shaky|jumpy|timid|trembly|alarmed|cold all over|wobbly|tense|queasy|dizzy with fear|fearful|panicky|unsafe|shivery|petrified|aghast
        bashful|edgy|faint|fretful|ill at ease|insecure|on edge|restless|shy|spooked|stiff|tiny|unsettled|wary|weak|dizzy|frozen|rattled|numb""",
    "cross": """cross|grumpy|angry|annoyed|furious|huffy|sulky|bothered|irritated|prickly|snappish|hot with anger|fed up|offended|ruffled|moody|stormy|resentful|peevish|bitter|cranky|gruff|hot|icy|livid|mad
        miffed|nettled|peeved|rattled|raging|sore|sour|stern|tetchy|touchy|vexed|wild|wrathful""",
    "size": """tiny|small|little|big|large|enormous|huge|gigantic|long|round|plump|skinny|giant|miniature|mighty|wee|vast|stout|lanky|bulky|slender|stubby|colossal|broad|chunky|compact|dwarf|fat|great
        hefty|lean|massive|narrow|petite|portly|short|slim|squat|tall|teeny|thick|thin|towering|wide|immense|hulking|minute|oversized|pudgy|tubby""",
    "look": """fluffy|spotted|striped|dusty|speckled|sleek|wrinkled|silky|velvety|ragged|graceful|handsome|beautiful|lovely|drowsy|sleepy|proud|bashful|solemn|fat|thin|elegant|scruffy|bright|plain|grumpy
        jolly|timid|glossy|fuzzy|nervous|hungry|lazy|noisy|curious|cheerful|old|young|shy|gentle|bold|muddy|wet|dainty|lonely|clumsy|lively|nosy|puzzled|busy|chubby|freckled|frisky|haughty|impatient
        limping|peculiar|polite|snoozing|startled|tired|whiskery|yawning|agile|angry|brave|bony|brisk|brown|calm|cheeky|chirpy|cold|crafty|cross|cuddly|cute|dapper|dark|dizzy|dreamy|eager|feathery
        fine|fussy|gaunt|giddy|glad|grand|grey|happy|hoarse|jaunty|keen|kindly|lame|lean|little|lost|loud|lucky|mad|meek|merry|mild|moody|neat|noble|odd|pale|plump|posh|pretty|prim|quick|quiet|rare
        regal|rowdy|sad|silly|sly|smart|soft|spry|stately|stern|stout|strong|swift|tall|tame|tiny|vain|wary|weary|wild|witty|zany""",
    "made": """shiny|dusty|crooked|painted|rusty|wooden|polished|chipped|battered|patched|old|new|broken|borrowed|clean|cracked|creaky|curious|dented|faded|fancy|folded|forgotten|hand-made|heavy|hollow
        knobbly|leaky|lopsided|lucky|magic|odd|ordinary|pointed|precious|rattling|rickety|smooth|splendid|squeaky|sticky|strange|striped|sturdy|tattered|tiny|twisted|unusual|useful|useless|velvet
        wobbly|woollen|worn-out|brass|glass|paper|silver|tin|copper|leather|straw|bent|big|blunt|bright|broad|bulky|cheap|coarse|cold|costly|crisp|crumpled|dainty|damp|dark|deep|dull|elegant
        empty|fine|flat|fluffy|fragile|funny|furry|grand|great|grubby|handy|hard|huge|iron|jolly|knitted|large|light|little|long|loose|lovely|massive|mended|narrow|neat
        nice|noble|oily|oval|pale|plain|plastic|pretty|proud|quaint|quiet|rare|rich|round|rough|royal|rubber|scuffed|secret|sharp|simple|slim|small|soft|solid|spare|square|steel|stiff
        strong|sunny|tall|thick|thin|tidy|tough|wet|wide|zigzag|cotton|bamboo|clay|cork|oak|silk|waxed|wicker|wool|antique""",
    "cosy": """cosy|little|tiny|crooked|pretty|quiet|friendly|sleepy|dusty|windswept|sunny|leafy|hilly|tidy|ancient|cheerful|snug|faraway|narrow|bustling|foggy|charming|forgotten|green|grey|hidden|lively
        lonely|mossy|old|peaceful|rainy|rocky|shady|simple|small|snowy|steep|big|blue|bleak|breezy|bright|bushy|calm|chilly|cool|curious|damp|dark|deep|distant|drowsy|dry|famous|fine|flowery|golden
        grand|grassy|great|high|icy|jolly|large|lofty|low|lovely|merry|misty|muddy|neat|nice|noisy|odd|pale|plain|pleasant|proud|remote|round|royal|sandy|secret|serene|sheltered|silent|silver|slow
        soft|splendid|spooky|still|stony|stormy|strange|tall|thorny|twisty|warm|wet|white|wide|wild|windy|young""",
    "tasty": """warm|sweet|delicious|sticky|juicy|crumbly|buttery|creamy|tasty|yummy|spicy|crispy|steaming|fresh|soft|fluffy|home-made|lopsided|scrumptious|tangy|sugary|crunchy|enormous|fragrant|piping hot
        splendid|sour|tender|rich|baked|big|bitter|cheap|chewy|chilled|cold|dainty|divine|dry|extra|fancy|fine|fried|frosted|fruity|glazed|hearty|heavenly|honeyed|hot|huge|iced|light|little|lovely
        lumpy|mild|moist|nutty|peppery|plain|plump|ripe|round|salty|scented|sharp|simple|smoky|smooth|spongy|stale|superb|tiny|thick|thin|velvety|zesty|wobbly""",
    "colour": """red|blue|green|yellow|purple|orange|pink|silver|golden|white|black|scarlet|turquoise|violet|brown|grey|cherry-red|sky-blue|rust-brown|snow-white|mint-green|amber|apricot|bronze|chestnut
        cobalt|coral|ebony|ivory|jade|lavender|magenta|maroon|mauve|ochre|ruby|sapphire|tangerine|teal|aqua|beige|brick-red|caramel|charcoal|chocolate|copper|cream|crimson|emerald|fawn
        flame-red|gold|hazel|honey|indigo|khaki|lilac|lime|mustard|navy|olive|pearl|rose|rusty|salmon|sandy|tan|umber|wine-red|pale""",
    # Adverbs for the way something is said or done.
    "softly": """softly|gently|quietly|kindly|warmly|cheerfully|happily|brightly|shyly|eagerly|proudly|politely|calmly|slowly|thoughtfully|sweetly|merrily|patiently|firmly|earnestly|hopefully|solemnly|wisely
        dreamily|with a smile|with a wink|with a grin|with a nod|in a small voice|after a pause|at once|bravely|carefully|clearly|gravely|gratefully|honestly|in a low voice|in a husky voice|tenderly
        playfully|seriously|simply|timidly|truthfully|with a bow|with a chuckle|with a shrug|with a sigh|with a yawn|with bright eyes|with pink cheeks|without thinking|with a laugh
        absently|amiably|bashfully|breezily|briefly|dryly|faintly|fondly|frankly|gaily|gladly|graciously|grandly|humbly|innocently|jokingly|joyfully|lightly
        mildly|modestly|nervously|nicely|readily|sagely|sleepily|smoothly|steadily|sternly|stoutly|suddenly|wistfully|wryly|with a hiccup|with a sniff|with folded arms
        with a curtsy|tactfully|sincerely|sensibly|promptly|pleasantly|plainly|loyally|lovingly|keenly|heartily|dutifully|evenly|excitedly|fearlessly""",
    "carefully": """carefully|gently|slowly|bravely|patiently|neatly|quickly|boldly|eagerly|quietly|steadily|cautiously|proudly|busily|cleverly|calmly|without a word|with great care|with shaking hands
        with both hands|inch by inch|little by little|briskly|cheerfully|diligently|doggedly|hopefully|lovingly|nimbly|skilfully|firmly|fondly|hastily|deftly|gladly|keenly|lightly|merrily|promptly
        smoothly|softly|solemnly|stubbornly|swiftly|tenderly|tirelessly|warily|with a song|with great joy|with one hand|bit by bit|step by step|in silence|in no hurry|sensibly
        politely|shyly|happily|thoughtfully""",
    "hard": "hard|deeply|long and hard|for a minute|for a long while|very carefully|about it|about everything|twice|in silence|harder than ever",
    # Speech. "said-plain" goes with an adverb, "said" stands alone.
    "said-plain": "said@4|replied|answered|explained|remarked|declared|murmured|insisted|stated|called",
    "said": "said@3|whispered|called|cried|replied|answered|murmured|laughed|announced|declared|explained|chuckled|shouted|promised|cheered|exclaimed|beamed|mumbled",
    "asked": "asked@2|wondered|begged|whispered|called|inquired|cried|pleaded|demanded",
    "wow": """wow|hooray|hurray|goodness|goodness me|oh my|my word|gosh|look|oh|yippee|marvellous|wonderful|fantastic|amazing|well, well|just look|how lovely|brilliant|good gracious|what luck|splendid
        superb|bravo|aha|at last|ha|heavens above|hip hip hooray|how grand|incredible|magnificent|oh joy|perfect|terrific|what a day|what a sight|whoopee|bingo|bliss|cheers|glory be|good grief
        good heavens|great|great news|jolly good|joy|magic|my my|my oh my|my stars|oh yes|phew|smashing|super|sweet|ta-da|three cheers|whoa|woohoo|yay|yes|golly|heavens""",
    "oh-no": """oh no|oh dear|oh bother|dear me|goodness|uh-oh|what a pity|how awful|good heavens|alas|oh, what a muddle|crumbs|fiddlesticks|heavens|botheration|bother|how dreadful|how terrible
        this is a disaster|what a mess|what a shame|what bad luck|what rotten luck|woe is me|mercy""",
    "comfort": """don't worry|never mind|cheer up|there, there|don't be sad|chin up|dry your eyes|don't give up|it's all right|be brave|take heart|take a deep breath|hold my hand|don't cry|come here
        don't be upset|hush now|it could be worse|keep calm|no harm done|not so fast|all is well|calm down|courage|don't be silly|don't despair|don't fret|don't panic
        easy now|fear not|give it time|hush|it happens|just breathe|keep going|lean on me|no tears|not to worry|now, now|relax|rest a bit|smile a little|steady
        take your time|trust me|wait and see""",
    "thanks": """thank you|thank you so much|thanks a million|thank you very much|how kind you are|bless you|many thanks|you are a true friend|you are the best|you are very kind|a hundred thanks
        how good of you|you saved the day""",
    # Moving, looking, thinking.
    "ran": """ran@2|raced|hurried|dashed|skipped|rushed|trotted|scampered|hopped|galloped|bounded|bustled|strolled|marched|wandered|tiptoed|scurried|jogged|darted|stomped|zigzagged|crept|ambled|tramped
        bolted|breezed|bumbled|charged|clambered|clattered|danced|drifted|flew|glided|hiked|hobbled|jumped|leaped|limped|loped|lumbered|paced|paddled|padded|pranced|rambled|roamed|rolled|romped
        rumbled|sailed|sauntered|scooted|shuffled|slipped|sneaked|sped|splashed|strode|strutted|stumbled|swept|trudged|tumbled|waddled|walked|whizzed|wobbled""",
    "looked": "looked@2|searched|hunted|peered|peeked|checked|rummaged",
    "indoor-spot": "under the <made> [bed|sofa|table|carpet|rug|armchair]|behind the <made> [curtain|cupboard|piano|bookcase|stove|door]|inside the <made> [basket|laundry bag|teapot|drawer|toy box|boot]|on top of the <made> [shelf|wardrobe|dresser|clock]",
    "outdoor-spot": "under the <made> [bench|bridge|archway|stairs|awning|fence]|behind the <made> [bushes|shed|bins|wall|gate|hedge]|inside the <made> [bucket|mailbox|wheelbarrow|watering can|dustbin]|between the <made> [flowerpots|barrels|benches|crates|rocks]",
    "joy": """danced [a jig|a waltz|in a circle|on the spot|a polka]|turned [two|three|four] cartwheels|sang [a funny song|very loudly]|clapped {hero.his} hands|stamped {hero.his} feet
        laughed [out loud|and laughed|like <a look> <beast>]|hugged everybody|jumped [for joy|up and down]|could not stop [smiling|giggling|humming|grinning]
        did a little dance|kissed <a look> <bug>|waved at <a look> <bird>|hopped like <a look> <beast>|bowed to <a look> <bug>|whistled like <a look> <bird>""",
    "gloom": """{hero.his} [lip|chin|voice|nose] [trembled|shook|wobbled|quivered]|a [tear|big tear|hot tear] [ran|rolled|slid|fell] down {hero.his} [cheek|nose|face]|{hero.his} [heart|tummy] [sank|felt heavy|felt like stone|felt cold]
        {hero.he} [sniffed|sighed|swallowed hard|wanted to hide|fell silent|looked away]|the whole [day|world] [seemed|looked|turned] [grey|dark|empty|cold]""",
    "pondered": "sat down|stood still|rubbed {hero.his} chin|walked in circles|chewed {hero.his} lip|wrinkled {hero.his} nose|hummed a tune|leaned back|counted to [ten|twenty|a hundred]|tapped {hero.his} foot|took a deep breath|looked up|shut {hero.his} eyes|knelt down|turned around|gazed at the sky",
    # Nature and food.
    "bird": """robin|sparrow|magpie|swallow|blackbird|pigeon|duck|goose|swan|heron|thrush|finch|crow|wagtail|kingfisher|woodpecker|cuckoo|seagull|starling|goldfinch|raven|wren|turtledove|stork|crane|owl
        falcon|pelican|puffin|lark|jay|quail|pheasant|hen|rooster|gosling|partridge|buzzard|canary|bullfinch|chaffinch|cormorant|curlew|dove|eagle|egret|gull|hawk|ibis|jackdaw|kestrel|kite|lapwing
        linnet|martin|oriole|osprey|plover|redstart|rook|sandpiper|siskin|snipe|swift|tern|turkey|vulture|warbler|grouse|moorhen|duckling|chick""",
    "birds": "robins|sparrows|magpies|swallows|blackbirds|pigeons|ducks|geese|swans|herons|crows|seagulls|starlings|ravens|wrens|doves",
    "bug": """beetle|ladybird|snail|bumblebee|butterfly|dragonfly|spider|cricket|worm|moth|ant|earwig|firefly|centipede|wasp|slug|hornet|toad|lizard|newt|tadpole|honeybee|gnat|woodlouse|mayfly|frog
        glow-worm|midge|millipede|salamander|aphid|bee|bug|cicada|fly|grub|mantis|mosquito|weevil|crayfish|cranefly|earthworm|locust
        scorpion|sawfly|crab|vole""",
    "beast": """elephant|giraffe|camel|walrus|penguin|kangaroo|hippo|zebra|tiger|panda|lion|donkey|goat|sheep|pony|crocodile|parrot|ostrich|flamingo|whale|octopus|turtle|llama|moose|reindeer|yak|lobster
        seal|koala|gorilla|peacock|unicorn|antelope|armadillo|baboon|bison|buffalo|chameleon|cheetah|crab|dolphin|gazelle|iguana|jaguar|jellyfish|leopard|lynx|ox|pig|platypus|porcupine|rhino|shark
        skunk|sloth|tapir|tortoise|toucan|turkey|wolf|wombat|aardvark|alpaca|eel|badger|bat|beaver|boar|bobcat|bull|cat|chimp|cobra|cod|coyote|deer|dingo|dog|duck|elk|emu|ferret|fox|gecko|gerbil
        gibbon|gnu|hamster|hare|hedgehog|heron|horse|hyena|ibex|impala|jackal|lemur|lizard|lamb|mole|mouse|mule|newt|ocelot|okapi|orca|otter|owl|oyster|panther|puma|python|quail|rabbit|raccoon|rat
        raven|seahorse|squid|squirrel|stag|stork|swan|trout|tuna|weasel|zebu|bear""",
    "flower": """daisy|tulip|poppy|rose|bluebell|sunflower|buttercup|lily|violet|primrose|foxglove|daffodil|dandelion|snowdrop|marigold|iris|honeysuckle|pansy|thistle|cornflower|geranium|harebell|hollyhock
        hyacinth|lupin|orchid|peony|petunia|cowslip|anemone|bellflower|aster|azalea|begonia|camellia|campion|carnation|celandine|clover|crocus|cyclamen|dahlia|freesia|fuchsia|gentian|gladiolus
        heather|hellebore|jasmine|larkspur|lavender|lilac|lotus|magnolia|mallow|mimosa|myrtle|narcissus|oxlip|speedwell|sweet pea|teasel|verbena|wallflower|wisteria|yarrow|zinnia
        edelweiss|hawthorn""",
    "tree": """oak|willow|birch|chestnut|maple|pine|elm|beech|apple|cherry|pear|walnut|plum|lime|poplar|hazel|cedar|alder|rowan|spruce|larch|sycamore|hawthorn|fig|acacia|ash|aspen|almond|cypress|elder|fir
        juniper|laurel|linden|medlar|mulberry|olive|palm|peach|quince|yew|holly|hornbeam|hemlock|lemon|magnolia|redwood|mango""",
    "fruit": """apple|pear|plum|cherry|peach|strawberry|raspberry|blueberry|apricot|rhubarb|lemon|orange|blackberry|gooseberry|fig|mango|banana|coconut|cranberry|currant|date|elderberry|grape|melon
        nectarine|pineapple|quince|raisin|almond|chestnut|clementine|damson|grapefruit|guava|hazelnut|kiwi|kumquat|lime|loganberry|lychee|mandarin|medlar|mulberry|olive
        papaya|pecan|persimmon|pistachio|pomelo|prune|sloe|tangerine|walnut""",
    "vegetable": """carrot|potato|pumpkin|tomato|pea|leek|onion|mushroom|cabbage|bean|parsnip|lentil|spinach|celery|turnip|corn|artichoke|asparagus|beetroot|broccoli|cucumber|fennel|garlic|nettle|pepper|radish
        swede|aubergine|chard|chicory|chickpea|chive|cress|dill|endive|kale|kohlrabi|lettuce|marrow|okra|parsley|pickle|rocket|sage|salsify|shallot|sorrel|soybean|sprout|squash|truffle|yam|zucchini
        acorn|barley|basil|ginger|oat|rice""",
    "spread": """honey|butter|jam|cheese|marmalade|cream|peanut butter|plum jelly|apple sauce|syrup|sesame paste|treacle|mustard|olives|walnuts|chocolate|almonds|apricots|bananas|berries|caramel|cherries
        chives|cucumber|curd|custard|dates|egg|figs|fudge|garlic|ham|herbs|hummus|lard|mint|mushrooms|nuts|onions|paste|peaches|pears|pickles|plums|radishes|raisins|rosemary|salt|sardines|seeds
        sugar|tomatoes|tuna|yoghurt""",
    "bake": """pie|tart|cake|pudding|crumble|muffin|bun|pancake|dumpling|scone|biscuit|turnover|waffle|strudel|pastry|roll|bagel|brownie|cookie|cracker|croissant|cupcake|doughnut|eclair|flan|gateau|loaf
        meringue|pasty|pretzel|rusk|slice|snap|sponge|trifle|wafer""",
    "drink": "[hot|warm] [milk|cocoa|chocolate|cider|lemon tea|mint tea|ginger tea|malt]|[cold|cool] [lemonade|milk|water|apple juice|ginger beer|buttermilk|pear juice|plum juice]",
    "waters": "sea|river|lake|hills|woods|mountains|mill|marsh|cliffs|moor|forest|canal|railway|vineyards|border",
    "town": "<cosy> [village|town|valley|street|house|cottage|farm|port] [by|near|beside|behind|past|close to] the <waters>",
    "town-wood": "<cosy> [wood|forest|valley|glade|grove|thicket] [by|near|beside|behind|past|close to] the [river|lake|hills|moor|cliffs|marsh|falls|sea]",
    "scent": """roses|lilac|mint|lavender|wild garlic|thyme|clover|jasmine|pine needles|smoke|rain|apples|bread|wet grass|fresh leaves|warm earth|moss|hay|old stone|mushrooms|salt|tar|honey|wet dog|pancakes
        toast|oranges|candle wax|coffee|chestnuts|soap|sawdust|almonds|anise|basil|cake|cedar|cheese|cherries|chocolate|cinnamon|cloves|cocoa|ferns|fish|flour|ginger|ink|ivy|leather|lemons|lilies
        melons|mud|mustard|old books|onions|paint|parsley|peaches|pears|pepper|plums|resin|roast corn|rosemary|sage|seaweed|snow|soot|soup|spices|stew|sugar|sun|tea|tomatoes|vanilla|vinegar|violets
        wet wool|wood|yeast""",
    # What a child may love, whatever the plot, and how it looks.
    "loved": """[strawberry|raspberry|plum|apricot|cherry|peach] jam|[long|old|funny|silly|sad|true] [stories|songs|riddles|jokes|poems]|[muddy|deep|splashy|icy] puddles|[drawing|counting|painting|watching] [trees|clouds|birds|dragons|castles|boats|beetles]
        [warm|crusty|fresh] bread|[collecting|sorting|hiding] [stones|stamps|shells|buttons|feathers|leaves|corks|keys]|[whistling|humming|singing] [in the bath|on the stairs|at breakfast]|[woolly|stripy|odd] socks
        the smell of <scent>|[looking at|reading about] [maps|stars|planets|whales|trains|volcanoes|kings]""",
    "feature": """freckles on {hero.his} [nose|cheeks|arms]|[curly|wild|tangled|straight|short|long|wavy|thick] [black|brown|red|fair|golden|dark] hair|[big|bright|sparkling|dark|serious|hazel|merry|sleepy] eyes
        a [loud|squeaky|sunny|rumbling|hearty|husky|silvery|wild] laugh|[pockets|a pocket] full of [string|crumbs|pebbles|conkers|chalk|acorns|leaves|corks]|[quick|busy|gentle|inky|cold|warm|sticky|nimble] fingers|<a made> [jacket|jumper|scarf|hat|cap|bag|belt|shirt]""",
    # Whole sentences. "meet" tells who a child is.
    "meet": """There was once <a trait>, <build> {hero.child} [called|named] {hero} who loved <loved>.
        Once, in <a town>, lived <a trait>, <build> {hero.child} [called|named] {hero}.
        {hero} was <a trait>, <build> {hero.child} with <feature>.
        In <a town> lived {hero}, <a trait> {hero.child} with <feature>.
        {hero} was <a trait>, <build> {hero.child} who [loved|liked|adored] <loved>.""",
    # The same for an animal with a kind and a home.
    "meet-animal": """There was once <a trait> {kind} [called|named] {hero}, who lived in <a cosy> {kind.home}.
        {hero} was <a trait>, <furry> {kind} who [loved|liked|adored] {kind.food}.
        Deep in <a town-wood> lived {hero}, <a trait>, <furry> {kind}.
        In <a town-wood>, in <a cosy> {kind.home}, lived <a trait> {kind} [called|named] {hero}.
        {hero} the {kind} was the [busiest|smallest|jolliest|quietest|proudest|kindest|cleverest|sleepiest] animal in <a town-wood>, and [loved|liked|adored] {kind.food}.""",
    "furry": """small|round|plump|sleek|fluffy|whiskery|bright-eyed|sharp-eared|soft-furred|long-nosed|nimble|velvety|scruffy|dusty|sleepy-eyed|snub-nosed|lop-eared|sturdy|wiry|twitchy|tiny|brown|chubby
        dainty|drowsy|fat|fuzzy|glossy|golden|grey|handsome|hungry|lean|little|long-tailed|mossy|muddy|old|pale|plucky|ragged|red-furred|short|shaggy|silky|skinny|slim|spotted|striped|swift|tall
        thin|timid|wet|wise|young|yawning""",
    "passing": """On the way, {hero.he} [passed|saw|noticed|spotted|met|greeted] <a look> <bird>, <a size> <bug> and <a colour> <flower>.
        {Hero.he} [waved|nodded|smiled|bowed] at <a look> <bird> and smelled <a colour> <flower>.
        {Hero.he} [counted|saw|noticed] [two|three|four|five|six|seven] <look> <birds>, <a size> <bug> and <a cosy> <tree> tree.""",
    "sounds": """[Somewhere|Nearby|Overhead|Far away|Close by], <a look> <bird> [sang|called|whistled|answered], and the air smelled of <scent>.
        The [wind|breeze] [rustled|whispered|sighed|played|sang] in <a cosy> <tree> tree, and <a look> <bird> [flew past|looked on|sang along].
        The air smelled of <scent>, and <a size> <bug> [sat|slept|rested|waited|yawned] on <a colour> <flower>.""",
    "pocket": """{Hero.his} pockets held <a made> <odd>, <a made> <odd-2> and <a tasty> <fruit> <bake>.
        {Hero.he} [packed|took along|carried] <a made> <odd>, <a colour> <odd-2> and <drink>.
        In {hero.his} [bag|basket|satchel|bundle] were <a made> <odd>, <a tasty> <fruit> <bake> and <a colour> <odd-2>.""",
    "odd": """button|feather|ribbon|seashell|pebble|acorn|bead|thimble|bell|marble|postcard|pinecone|key|coin|candle|pencil|buckle|walnut|bookmark|badge|bracelet|stamp|mirror|whistle|spoon|notebook|magnet
        cork|paintbrush|dice cup|hairpin|anchor|apron|arrow|ball|bolt|bone|bottle|bow|box|brush|card|chain|chalk|clip|clock|cone|crayon|crown|cube|cup|disc|doll|drawing|egg|envelope|eraser|flag|fork
        gem|glove|hinge|hook|horseshoe|jewel|knob|lace|leaf|lens|locket|lollipop|marker|match|medal|nail|needle|net|nut|parcel|pearl|pin|plug|puzzle|ring|screw|sponge|spring|star|straw|string|tag
        tassel|ticket|tile|token|tube|wand|watch|wheel|zip""",
    "odd-2": """umbrella|lantern|blanket|compass|map|scarf|rope|flute|hammer|teacup|cushion|comb|ruler|jar|spyglass|mitten|toothbrush|drum|fan|kettle|ladle|slipper|sponge|tambourine|yo-yo|axe|backpack|bag
        basket|bat|belt|bench|bicycle|blouse|book|bow tie|broom|bucket|cap|cape|carpet|cart|chair|cloak|coat|crate|cup|curtain|desk|dress|fiddle|flag|flask|frame|gong|guitar|hat|hoop|hose|jacket
        jigsaw|jug|kite|ladder|lamp|lute|map case|mask|mattress|mop|mug|pan|pillow|pipe|plate|pot|pouch|purse|puppet|quill|rake|robe|rug|sack|saddle|saw|shawl|shield|shirt|shovel|skirt|sledge|stick
        stool|sword|tent|torch|towel|toy|tray|trowel|tub|vase|vest|violin|wagon|whisk|wig""",
    "supper": """For supper there was <vegetable> soup, <tasty> bread with <spread> and <a tasty> <fruit> <bake>.
        They [shared|ate|enjoyed] <a tasty> <fruit> <bake>, bread with <spread> and <drink>.
        {hero} [ate|had|finished] bread with <spread>, <a tasty> <fruit> <bake> and <drink>.""",
    "picnic": """They [unpacked|shared] <a tasty> <fruit> <bake>, <vegetable> salad and <drink>.
        They [nibbled|munched|shared] bread with <spread>, <a tasty> <fruit> and <a tasty> <vegetable> pie.""",
    "dream": """That night, {hero} dreamed of <a size> <colour> <beast> that [danced|juggled|sang|cycled|fiddled|baked bread|wore slippers|drank tea|told jokes|knitted|yodelled|skated] with <a look> <bird>.
        That night, {hero} [slept|snored] like <a size> <beast> and dreamed of <a look> <beast-2> with <a made> [hat|coat|boat|scarf|balloon|teacup|bathtub|fiddle].""",
    "beast-2": """dragon|mermaid|giant|wizard|snowman|robot|cloud|pirate|king|queen|train|teapot|moon|lighthouse|piano|pumpkin|castle|comet|fairy|knight|lamp|mammoth|princess|puppet|scarecrow|ship|star
        submarine|tower|troll|volcano|windmill|airship|angel|balloon|bandit|barrel|bell|boat|bridge|captain|chimney|circus|clown|cottage|cowboy|dancer|dwarf|elf|fiddler|gardener|ghost|gnome|goblin
        hermit|iceberg|island|juggler|kettle|ladder|magician|mailman|miller|monk|ogre|organ|phantom|pilot|planet|poet|puddle|rainbow|raindrop|rocket|sailor|shadow|spaceman|sphinx|spook|sultan|tailor
        tractor|turnip|umbrella|viking|watchman|well|whirlwind|witch|wheel|yeti""",
    "night": """[Outside|Above the roofs|Over the hills|High above], the [moon|stars] [shone|glowed|glimmered|sparkled] [softly|brightly|like silver|until dawn], and the air smelled of <scent>.
        The [sun|evening sun] [went down|sank] behind the <cosy> [hills|trees|roofs|chimneys|clouds], and the sky turned <colour>.
        [Slowly|Softly|Gently], the [first|brightest] stars [came out|appeared] over the <cosy> [hills|trees|roofs|chimneys|fields].""",
    "glad-beat": """{hero} was so <glad-so> that {hero.he} <joy>.
        {hero} felt <glad>, and {hero.he} <joy>.
        "<Wow>!" [cried|shouted|laughed|cheered] {hero}, and {hero.he} <joy>.""",
    "sad-beat": """{hero} felt <sad>, and <gloom>.
        "<Oh-no>!" [said|cried|whispered|muttered|groaned|gasped|sobbed] {hero}, and <gloom>.
        {hero} had never [felt|been] so <sad-so>, and <gloom>.""",
    "think-beat": """{hero} <pondered> and thought <hard>.
        {hero} <pondered> until {hero.he} had [a plan|an idea|<a tale> plan|<a trait> idea].""",
    # Somebody speaks.
    "hero-says": "<said-plain> {hero} <softly>",
    "friend-says": "<said-plain> {friend} <softly>",
    "elder-says": "<said-plain> {elder} <softly>",
    "neighbour-says": "<said-plain> {neighbour} <softly>",
    "friend-came": """<suddenly>, {friend} came [by|past|along], <a trait>, <build> {friend.child} from [next door|the farm|upstairs|school|the mill|the hotel|the bakery|the port]
        {friend}, <a trait>, <build> {friend.child} from [next door|the farm|upstairs|school|the mill|the hotel|the bakery|the port], [heard|saw|noticed] it""",
    # Pieces for single plots.
    "outdoor-spot-2": "beside the <made-2> [pump|statue|ticket booth|rain barrel|bandstand]|behind the <made-2> [milk churns|bakery van|tree stump|pillar|cart]|among the <cosy> [nettles|ferns|reeds|cobblestones|roots]",
    "outdoor-spot-3": "under <a made> [leaf|log|newspaper|plank|sack]|in <a cosy> [ditch|puddle|thorn bush|hollow tree|flowerpot]|behind <a made> [milestone|bicycle|crate|garden gnome|drainpipe]",
    "made-2": "ancient|green|brown|grey|mossy|rotten|sunny|shady|tall|low|wide|narrow|whitewashed|weathered|yellow|blue",
    "flowers": "roses|tulips|poppies|daisies|lilies|violets|peonies|asters|bluebells|sunflowers|primroses|daffodils|marigolds|irises|pansies|thistles",
    "night-noise": "[low|faint|sudden|long|hollow|strange|soft|sad] [scratching|rattling|tapping|creaking|groaning|rustling|thumping|squeaking|moaning|clicking|whimpering|humming]",
    "night-knock": "[quick|slow|loud|gentle|double|cheerful|heavy|timid] [knock|tap|ring|rap]",
    "look-egg": "brown|white|speckled|fresh|large|small|warm|pale",
    "spice": "cinnamon|vanilla|ginger|nutmeg|cardamom|cocoa|poppy seed|lemon peel|cloves|almond oil|aniseed|saffron|thyme|rosemary|pepper|basil",
    "loved-too": "[muddy|deep|splashy|icy] puddles|[old|funny|silly|sad|true] [stories|songs|riddles|jokes|poems]|[strawberry|raspberry|plum|apricot|cherry|peach] jam|<colour> [kites|marbles|balloons|socks|pencils]",
    "loved-too-2": "[spotted|striped|old|fat] [cats|dogs|horses|frogs]|<made> maps|anything with <spread>|everything that is <colour>|the smell of <scent>",
    "activities": "hide-and-seek|climbing|marbles|skipping|kite flying|fishing|football|snowball fights|blackberry picking|puddle jumping|tadpole hunting|tree climbing|roller skating|bird watching|cloud gazing|hopscotch",
    "bake-s": "pies|tarts|cakes|muffins|buns|pancakes|dumplings|scones|biscuits|turnovers|waffles|pastries",
    "month-or-season": "<month>|spring|summer|autumn|winter",
    "crunch": "[sticks|slices|chips|bread|salad]",
    "vegetable-2": "[wild |young |dried ][garlic|beetroot|fennel|corn|radish|peppers|artichokes|cauliflower|broccoli|nettles]",
    "indoor-spot-lit": "on the <made> [table|dresser|windowsill|piano|stove|shelf]",
    "shadow": "<a look> [rabbit|swan|wolf|duck|butterfly|dog|snail|bat|eagle|camel]",
    "spread-2": "pickles|sugar|cinnamon|salt|chives|onions|tomatoes|bananas|raisins|sardines",
    "beast-b": "elephant|giraffe|whale|walrus|hippo|moose|bear|camel|rhino|ox|dinosaur|mammoth",
    "colour-b": "rainbow|striped|thick|soft|scratchy|leftover|borrowed|mixed|heather|speckled",
    "one-snow": "one <snow> [morning|afternoon|day] in [December|January|February]|on <a snow> <weekday> in [December|January|February]|one <snow> <weekday>|early one <snow> morning",
    "snow": "snowy|frosty|icy|white|glittering|freezing|sparkling|crisp|silent|winter|bright|wintry",
    "sea-thing": "whale|seal|jellyfish|sailboat|buoy|dolphin|turtle|submarine|octopus|raft|shark|ferry|seahorse|swordfish|oil tanker|reef",
    "shore-spot": "under the <made> [jetty|net|boat|buoy]|behind the <cosy> [dunes|cliffs|rocks|boathouse]|between the <made> [shells|crates|barrels|anchors]",
    "friend-says-no-name": "<said-plain> the {friend.child} <softly>",
    "play-line": "[the moon is|the soup is|your crown is|my boat is|the bridge is|our tower is] [cold|late|upside down|gone|asleep|too small|made of cheese]",
    "play-line-2": "oh yes, <play-line>|of course, <play-line>|ah, <play-line>",
    "vegetable-3": "carrot|potato|parsnip|turnip|cabbage|beetroot|apple|pear|swede|corn cob|lettuce|quince",
    "tasty-2": "better|sweeter|colder|bigger|fresher|nicer|cheaper|finer|stronger|tastier|far better|much fresher",
    "tasty-3": "funny|thrilling|exciting|sad|wise|long|dreadful|beautiful|spooky|silly|strange|lovely",
    "weather-turn": "[it began to rain|a storm came up|hail fell|the wind rose|thunder rolled|it poured].",
    "trait-2": "cheerful|hungry|thirsty|elegant|noisy|shy|tall|tiny|famous|sleepy|curious|polite|old|young|muddy|tired",
    "colour-2": "blue|green|yellow|purple|golden|silver|black|amber|violet|sleepy|wide|winking|sparkling|grey|brown|crooked",
    "indoor-ledge": "to <a cosy> [ledge|corner|window|niche|beam|arch]|into <a made> [basket|hat|box|bucket|bowl|drawer]",
    "look-2": "dancing|flying|singing|laughing|sneezing|talking|knitting|travelling|painting|snoring|whistling|cooking",
    # For what is told, sung, played or planned.
    "tale": """funny|silly|long|short|sad|merry|old|new|famous|lovely|secret|strange|gentle|wild|slow|quick|brave|clever|crazy|curious|exciting|fine|foolish|good|grand|happy|jolly|little|lively|magic|mad|noisy|odd|pretty|quiet
        royal|scary|simple|soft|solemn|spooky|splendid|sweet|tricky|true|warm|wise|wonderful""",
    # Animals.
    "winter": "winter|the snow|the frost|the cold|the north wind|the first storm",
    "weather-cold": "white|cold|grim|hungry|bitter|dark|endless|silent|snowy|icy|grey|hard",
    "weather-bad": "[a storm|the wind|a gale|heavy rain] [shook|beat|struck|bent] the <cosy> [wood|hills|trees|oaks].",
    "burrow-spot": "under <a made> [root|stone|plank|carpet]|behind <a made> [door|barrel|wall|curtain]|in <a made> [chest|basket|jar|sack]",
    "pond-spot": "under <a look> [frog|leaf|duck|fish]|behind <a made> [reed|stone|pipe|pump]|between the <look> [ducks|swans|toads|eels]",
    "animal-knock": "<suddenly>, there was <a night-knock> at the <made> door",
    "furry-bird": "fluffy|round|plump|sleek|small|speckled|young|green-eyed|yellow|brown|bright-eyed|spotted|skinny|silky|downy|long-legged|scruffy|muddy|pale|old|tiny|dusty|striped|stubby",
    "softly-plain": "softly|gently|quietly|shyly|slowly|sweetly|patiently|hopefully|solemnly|sadly|bravely|politely|kindly|warmly|carefully|happily",
    "growled": "growled|grumbled|snarled|roared|groaned|whispered|sobbed|cried|snorted|hissed|moaned|said",
        "scent-2": "moonlight|blankets|marzipan|dumplings|summer|cream|tomorrow|gravy|hot baths|holidays|my mother|treasure",
    "spring-month": "March|April|May|spring|springtime|early April|mid-March|late March",
    "cold-so": "cold|clear|bright|fresh|pure|shiny|sweet|cool",
    "trait-3": "lazy|sleepy|grumbling|limping|whistling|retired|snoring|visiting|hungry|wandering|laughing|dancing|yawning|blushing|sneezing|singing",
    "gloom-bird": "sighed|fell silent|forgot its food|looked far away|sang <a tale> song|gazed at the clouds|lost its appetite|counted the birds",
    "tree-2": "barn|village|castle|church|mill|forest|vineyard|lake|island|station|harbour|school|bakery|quarry|meadow|lighthouse",
    "colour-3": "dusty|shady|drooping|wild|tall|crooked|lonely|sunny|fragrant|dewy|quiet|nodding",
    "think-friend": "{friend} <pondered-friend> and thought <hard>.",
    "pondered-friend": "sat down|stood still|hummed a tune|leaned back|took a deep breath|smiled|nodded|sipped <drink>|cut <a tasty> <bake>|lit <a made> lamp",
    "tale-nice": "nice|kind|friendly|warm|polite|sweet|true|gentle|cheerful|funny|good|new",
    # A little magic.
    "friend-gloom": "{friend.his} [lip|chin|voice|nose] [trembled|shook|wobbled|quivered]|a [tear|big tear|hot tear] [ran|rolled|slid|fell] down {friend.his} [cheek|nose|face]|{friend.he} [sniffed|sighed|swallowed hard|fell silent|looked away]",
    "help-it": "[help|stay|be kind|be brave|don't run|take care|go on|listen|wait|do it] [now|today|at once|anyway|all the same|just this once]",
    "flew": "flew|drifted|sailed|floated|glided|hurried|wandered|slipped|rolled|sneaked|swam|crept",
    "glad-beat-cloud": "{hero} felt <glad>, and grew <size> and <colour> [at the edges|with joy|from top to toe|all over].",
    "carefully-heart": "softly|quickly|gently|bravely|loudly|steadily|happily|wildly|warmly|proudly|merrily|boldly",
    "afraid-of": "afraid|scared|frightened|fearful|wary|a little afraid|rather scared|very wary",
    "sad-giant": "sad|unhappy|gloomy|lonely|glum|forlorn|puzzled|tired|lost|thoughtful|wistful|far away",
    "giant-spot": "behind one ear|under <a made> hat|on <a made> chain|in <a made> purse|in one cheek|between two toes|in <a colour> sock",
}
