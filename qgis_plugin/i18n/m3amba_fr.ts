<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="fr" sourcelanguage="en">
  <context>
    <name>M3amba</name>
    <message>
      <location filename="../algorithms/base.py" />
      <source>Where to compute: auto takes a GPU where there is one. What is usual is set under Settings &gt; Options &gt; M3amba.</source>
      <translation>Lieu du calcul : auto prend un GPU s'il y en a un. La valeur habituelle se règle dans Préférences &gt; Options &gt; M3amba.</translation>
    </message>
    <message>
      <location filename="../algorithms/base.py" />
      <source>Device</source>
      <translation>Périphérique de calcul</translation>
    </message>
    <message>
      <location filename="../algorithms/base.py" />
      <source>Allow the network</source>
      <translation>Autoriser le réseau</translation>
    </message>
    <message>
      <location filename="../algorithms/base.py" />
      <source>Reads rasters and labels from servers, too, such as /vsicurl/ layers. Off unless you trust the files: one from a stranger may make this machine ask any server.</source>
      <translation>Lit aussi les rasters et les étiquettes sur des serveurs, comme les couches /vsicurl/. À n'activer que pour des fichiers de confiance : celui d'un inconnu peut amener cette machine à interroger n'importe quel serveur.</translation>
    </message>
    <message>
      <location filename="../algorithms/base.py" />
      <source>Example</source>
      <translation>Exemple</translation>
    </message>
    <message>
      <location filename="../algorithms/base.py" />
      <source>Cancelled: no output was written.</source>
      <translation>Annulé : aucune sortie n'a été écrite.</translation>
    </message>
    <message>
      <location filename="../algorithms/base.py" />
      <source>log</source>
      <translation>journal</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Classify with M3amba</source>
      <translation>Classer avec M3amba</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Makes a land-cover map of rasters with a model that was trained on rasters of the same kind. The map has the grid of the first raster, and the names and colours of the classes.</source>
      <translation>Produit une carte d'occupation du sol à partir de rasters, avec un modèle entraîné sur des rasters du même type. La carte a la grille du premier raster, ainsi que les noms et les couleurs des classes.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>land cover,classification,deep learning,machine learning,mamba,map,prediction</source>
      <translation>occupation du sol,classification,apprentissage profond,apprentissage automatique,mamba,carte,prédiction</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>A model file written by “Train a model with M3amba”.</source>
      <translation>Fichier de modèle écrit par « Entraîner un modèle avec M3amba ».</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>As many as the model was trained on, with the same bands; in the same order, unless the layers have the names they had then. A model that was trained for it does with fewer; their layers must have those names.</source>
      <translation>Autant que pour l'entraînement, avec les mêmes bandes ; dans le même ordre, sauf si les couches portent les mêmes noms qu'alors. Un modèle entraîné pour cela se contente de moins ; leurs couches doivent porter ces noms.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Maps only what lies inside, on the pixels of the first raster; all if left out.</source>
      <translation>Ne cartographie que l'intérieur, sur les pixels du premier raster ; tout si vide.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>As in training: a name for each raster, in order, such as vnir,vnir,vnir,height.</source>
      <translation>Comme à l'entraînement : un nom pour chaque raster, dans l'ordre, par exemple vnir,vnir,vnir,hauteur.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Leaves out what is 0 or nodata in this raster on the same grid.</source>
      <translation>Exclut ce qui vaut 0 ou nodata dans ce raster, sur la même grille.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Resampling</source>
      <translation>Rééchantillonnage</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>How rasters are warped onto the first one's grid.</source>
      <translation>Comment les rasters sont ramenés sur la grille du premier.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Local file with the weights of the image encoder that the model was trained with.</source>
      <translation>Fichier local avec les poids de l'encodeur d'images utilisé à l'entraînement du modèle.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Start anew</source>
      <translation>Recommencer</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Drops what a cancelled run has left for this map, instead of going on from it.</source>
      <translation>Abandonne ce qu'une exécution annulée a laissé pour cette carte, au lieu de la poursuivre.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>GeoTIFF of class codes; 0 where data are missing. A style lies beside it.</source>
      <translation>GeoTIFF des codes de classe ; 0 là où des données manquent. Un style est placé à côté.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>GeoTIFF of the probability of the mapped class, 0 to 1.</source>
      <translation>GeoTIFF de la probabilité de la classe cartographiée, de 0 à 1.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>GeoTIFF with the probability of each class, a band each.</source>
      <translation>GeoTIFF de la probabilité de chaque classe, une bande par classe.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>GeoTIFF of the modalities that each pixel is made from, for a model that does with fewer; beside the map if left out.</source>
      <translation>GeoTIFF des modalités dont chaque pixel est tiré, pour un modèle qui se contente de moins ; à côté de la carte si vide.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Model</source>
      <translation>Modèle</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Rasters</source>
      <translation>Rasters</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Extent</source>
      <translation>Emprise</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Groups of rasters</source>
      <translation>Groupes de rasters</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Mask</source>
      <translation>Masque</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Stride</source>
      <translation>Pas</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Pixels between windows; smaller is smoother and slower.</source>
      <translation>Pixels entre deux fenêtres ; plus petit est plus lisse et plus lent.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Windows a step</source>
      <translation>Fenêtres par étape</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Fewer need less memory.</source>
      <translation>Moins de fenêtres demandent moins de mémoire.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Working memory (MiB)</source>
      <translation>Mémoire de travail (Mio)</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>For pixels; by free memory if left out.</source>
      <translation>Pour les pixels ; selon la mémoire libre si vide.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Weights of the guide</source>
      <translation>Poids du guide</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Map</source>
      <translation>Carte</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Confidence</source>
      <translation>Confiance</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Probabilities</source>
      <translation>Probabilités</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>Modalities used</source>
      <translation>Modalités utilisées</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>The extent does not meet {}.</source>
      <translation>L'emprise ne touche pas {}.</translation>
    </message>
    <message>
      <location filename="../algorithms/classify.py" />
      <source>{} ({} bands) stands for {} ({} bands) of the model.</source>
      <translation>{} ({} bandes) tient lieu de {} ({} bandes) du modèle.</translation>
    </message>
    <message>
      <location filename="../algorithms/doctor.py" />
      <source>Diagnose M3amba</source>
      <translation>Diagnostiquer M3amba</translation>
    </message>
    <message>
      <location filename="../algorithms/doctor.py" />
      <source>Checks the backend: packages, devices, GDAL, weights, disk. Each thing that is not well is told with its remedy.</source>
      <translation>Vérifie le moteur : paquets, périphériques, GDAL, poids, disque. Chaque défaut est signalé avec son remède.</translation>
    </message>
    <message>
      <location filename="../algorithms/doctor.py" />
      <source>diagnose,check,installation,gpu,cuda,problem,help</source>
      <translation>diagnostic,vérification,installation,gpu,cuda,problème,aide</translation>
    </message>
    <message>
      <location filename="../algorithms/doctor.py" />
      <source>Whether all is well</source>
      <translation>Si tout va bien</translation>
    </message>
    <message>
      <location filename="../algorithms/doctor.py" />
      <source>Python of the backend: {}</source>
      <translation>Python du moteur : {}</translation>
    </message>
    <message>
      <location filename="../algorithms/doctor.py" />
      <source>Logs: {}</source>
      <translation>Journaux : {}</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Assess a map</source>
      <translation>Évaluer une carte</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Compares a land-cover map with labelled places: confusion matrix, overall accuracy, and the accuracy of every class. Pixels that trained the model are left out and counted.</source>
      <translation>Compare une carte d'occupation du sol avec des lieux étiquetés : matrice de confusion, exactitude globale et exactitude de chaque classe. Les pixels qui ont entraîné le modèle sont exclus et comptés.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>accuracy,confusion matrix,kappa,validation,land cover,evaluation,assessment</source>
      <translation>exactitude,matrice de confusion,kappa,validation,occupation du sol,évaluation,précision</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>A map made by “Classify with M3amba”, its sidecar beside it.</source>
      <translation>Une carte faite par « Classer avec M3amba », son fichier annexe à côté d'elle.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Best are places that training has never seen.</source>
      <translation>Le mieux : des lieux que l'entraînement n'a jamais vus.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Text or integers. If left out: the field of the layer's categorised style, else the only field that fits.</source>
      <translation>Texte ou entiers. Si vide : le champ du style catégorisé de la couche, sinon le seul champ qui convienne.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Names and colours from the layer's style</source>
      <translation>Noms et couleurs d'après le style de la couche</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Matches classes by the names in the layer's style. For labels that have other values than those of the training, but the same class names.</source>
      <translation>Rapproche les classes par les noms du style de la couche. Pour des étiquettes dont les valeurs ne sont pas celles de l'entraînement, mais dont les noms de classes le sont.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Label all touched pixels</source>
      <translation>Étiqueter tous les pixels touchés</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Label every pixel that a polygon touches, not only those whose centre is inside.</source>
      <translation>Étiquette chaque pixel touché par un polygone, et pas seulement ceux dont le centre est à l'intérieur.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>The labelled places are points that were drawn at random, from all of the map or from each of its classes, and nobody chose where they lie: accuracy and areas of the whole map are estimated, with intervals of 95 %.</source>
      <translation>Les lieux étiquetés sont des points tirés au hasard, sur toute la carte ou dans chacune de ses classes, sans que personne n'ait choisi leur place : l'exactitude et les surfaces de la carte entière sont estimées, avec des intervalles à 95 %.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>The model that made the map, where its sidecar is lost.</source>
      <translation>Le modèle qui a fait la carte, si son fichier annexe est perdu.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Score training pixels, too</source>
      <translation>Compter aussi les pixels d'entraînement</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Makes the figures too good. For labels that are known to be independent.</source>
      <translation>Rend les chiffres trop bons. Pour des étiquettes connues comme indépendantes.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Page with picture, confusion matrix and classes; one file, to read or to send.</source>
      <translation>Page avec image, matrice de confusion et classes ; un seul fichier, à lire ou à envoyer.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>All figures, for programs.</source>
      <translation>Tous les chiffres, pour des programmes.</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Labelled places</source>
      <translation>Lieux étiquetés</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Class field</source>
      <translation>Champ de classe</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Labels are a random sample of the map</source>
      <translation>Les étiquettes sont un échantillon aléatoire de la carte</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Report</source>
      <translation>Rapport</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Figures</source>
      <translation>Chiffres</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Overall accuracy</source>
      <translation>Exactitude globale</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>Kappa</source>
      <translation>Kappa (accord)</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>HTML page (*.html)</source>
      <translation>Page HTML (*.html)</translation>
    </message>
    <message>
      <location filename="../algorithms/evaluate.py" />
      <source>JSON file (*.json)</source>
      <translation>Fichier JSON (*.json)</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>Inspect a model or inputs</source>
      <translation>Inspecter un modèle ou des entrées</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>Says what a model holds, or whether rasters and labels fit together: coordinate reference system, pixel size, overlap, nodata, and the labelled pixels of each class.</source>
      <translation>Dit ce que contient un modèle, ou si des rasters et des étiquettes vont ensemble : système de coordonnées, taille des pixels, recouvrement, nodata et pixels étiquetés de chaque classe.</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>preflight,check,metadata,model,classes,bands,land cover</source>
      <translation>contrôle,vérification,métadonnées,modèle,classes,bandes,occupation du sol</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>Name a model, rasters or labelled places.</source>
      <translation>Indiquez un modèle, des rasters ou des lieux étiquetés.</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>A model file: its classes, bands, scores and settings are told.</source>
      <translation>Un fichier de modèle : ses classes, bandes, scores et réglages sont donnés.</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>They are compared with the first one.</source>
      <translation>Ils sont comparés avec le premier.</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>Their pixels on the first raster are counted, class by class.</source>
      <translation>Leurs pixels sur le premier raster sont comptés, classe par classe.</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>All that was found, for programs.</source>
      <translation>Tout ce qui a été trouvé, pour des programmes.</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>on the grid of the first</source>
      <translation>sur la grille du premier</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>on another grid</source>
      <translation>sur une autre grille</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>Findings</source>
      <translation>Constats</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>{} pixels in {} places</source>
      <translation>{} pixels en {} lieux</translation>
    </message>
    <message>
      <location filename="../algorithms/info.py" />
      <source>{}: {}, {} x {} pixels of {}, {} bands ({}), nodata: {}, covers {:.0%} of the first raster, {}</source>
      <translation>{} : {}, {} x {} pixels de {}, {} bandes ({}), nodata : {}, couvre {:.0%} du premier raster, {}</translation>
    </message>
    <message>
      <location filename="../algorithms/labels.py" />
      <source>The labelled places can't be read.</source>
      <translation>Les lieux étiquetés ne peuvent pas être lus.</translation>
    </message>
    <message>
      <location filename="../algorithms/labels.py" />
      <source>{} holds no features.</source>
      <translation>{} ne contient aucune entité.</translation>
    </message>
    <message>
      <location filename="../algorithms/labels.py" />
      <source>{} has no CRS: give it one with “Assign projection”.</source>
      <translation>{} n'a pas de SCR : donnez-lui en un avec « Assigner une projection ».</translation>
    </message>
    <message>
      <location filename="../algorithms/labels.py" />
      <source>{} and {} do not overlap.</source>
      <translation>{} et {} ne se recouvrent pas.</translation>
    </message>
    <message>
      <location filename="../algorithms/labels.py" />
      <source>Classes of the style: {}</source>
      <translation>Classes du style : {}</translation>
    </message>
    <message>
      <location filename="../algorithms/labels.py" />
      <source>The labelled places can't be written to {}: {}</source>
      <translation>Les lieux étiquetés ne peuvent pas être écrits dans {} : {}</translation>
    </message>
    <message>
      <location filename="../algorithms/layers.py" />
      <source>Weights (*.safetensors *.pt *.pth *.bin)</source>
      <translation>Poids (*.safetensors *.pt *.pth *.bin)</translation>
    </message>
    <message>
      <location filename="../algorithms/layers.py" />
      <source>No raster was given that can be read.</source>
      <translation>Aucun raster lisible n'a été donné.</translation>
    </message>
    <message>
      <location filename="../algorithms/layers.py" />
      <source>If these rasters are in that order, enter as groups: {}</source>
      <translation>Si ces rasters sont dans cet ordre, saisissez comme groupes : {}</translation>
    </message>
    <message>
      <location filename="../algorithms/layers.py" />
      <source>There are {} groups for {} rasters: name one group for each raster.</source>
      <translation>Il y a {} groupes pour {} rasters : indiquez un groupe pour chaque raster.</translation>
    </message>
    <message>
      <location filename="../algorithms/layers.py" />
      <source>{} is not a raster file: save it as one first.</source>
      <translation>{} n'est pas un fichier raster : enregistrez-le d'abord comme tel.</translation>
    </message>
    <message>
      <location filename="../algorithms/layers.py" />
      <source>QGIS shows {} in {}, but its file says {}. Write the right CRS into the file with “Assign projection”.</source>
      <translation>QGIS montre {} en {}, mais son fichier dit {}. Écrivez le bon SCR dans le fichier avec « Assigner une projection ».</translation>
    </message>
    <message>
      <location filename="../algorithms/layers.py" />
      <source>nothing</source>
      <translation>rien</translation>
    </message>
    <message>
      <location filename="../algorithms/layers.py" />
      <source>{} has no CRS: write it into the file with “Assign projection”.</source>
      <translation>{} n'a pas de SCR : écrivez-le dans le fichier avec « Assigner une projection ».</translation>
    </message>
    <message>
      <location filename="../algorithms/layers.py" />
      <source>The model takes {}; {} were given. {}</source>
      <translation>Le modèle attend {} ; {} ont été donnés. {}</translation>
    </message>
    <message>
      <location filename="../algorithms/layers.py" />
      <source>{} has {} bands; the model was trained with {} for {}.</source>
      <translation>{} a {} bandes ; le modèle a été entraîné avec {} pour {}.</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>Draw a sample of a map</source>
      <translation>Tirer un échantillon d'une carte</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>Draws points at random from each class of a land-cover map. Say what is there in their field “class”, which offers the classes in a list; then “Assess a map” tells the accuracy of the whole map and the true area of each class.</source>
      <translation>Tire au hasard des points de chaque classe d'une carte d'occupation du sol. Indiquez ce qui s'y trouve dans leur champ « class », qui propose les classes dans une liste ; « Évaluer une carte » donne ensuite l'exactitude de la carte entière et la surface réelle de chaque classe.</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>random,stratified,sampling,points,accuracy,area estimation,validation,land cover</source>
      <translation>aléatoire,stratifié,échantillonnage,points,exactitude,estimation de surface,validation,occupation du sol</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>A map made by “Classify with M3amba”; where its sidecar lies beside it, no point falls on pixels that trained the model.</source>
      <translation>Une carte faite par « Classer avec M3amba » ; si son fichier annexe se trouve à côté, aucun point ne tombe sur des pixels qui ont entraîné le modèle.</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>A GeoPackage. Its points do not say what the map shows, lest it be believed.</source>
      <translation>Un GeoPackage. Ses points ne disent pas ce que montre la carte, pour que nul ne s'y fie.</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>Points</source>
      <translation>Points</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>How many, more or less, shared out by the area of the classes.</source>
      <translation>Combien, à peu près, répartis selon la surface des classes.</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>Points a class, at least</source>
      <translation>Points par classe au minimum</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>Rare classes get so many, where they have so many pixels.</source>
      <translation>Les classes rares en reçoivent autant, si elles ont autant de pixels.</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>Seed</source>
      <translation>Graine</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>Of the draw: the same seed, the same points.</source>
      <translation>Du tirage : la même graine, les mêmes points.</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>Sample</source>
      <translation>Échantillon</translation>
    </message>
    <message>
      <location filename="../algorithms/sample.py" />
      <source>{} is no name of a GeoPackage: let it end in .gpkg.</source>
      <translation>{} n'est pas un nom de GeoPackage : il doit se terminer par .gpkg.</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>Set up M3amba</source>
      <translation>Installer M3amba</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>Installs or repairs the backend in an environment of its own, in the folder of the QGIS profile. Nothing is installed into the Python of QGIS. It says what is downloaded and how much, and checks that the result works; a backend that works is kept until then.</source>
      <translation>Installe ou répare le moteur dans un environnement à lui, dans le dossier du profil QGIS. Rien n'est installé dans le Python de QGIS. L'outil dit ce qui est téléchargé et combien, et vérifie que le résultat fonctionne ; un moteur qui marche est gardé jusque-là.</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>install,repair,update,backend,environment,python,torch,gpu,cuda,offline</source>
      <translation>installer,réparer,mise à jour,moteur,environnement,python,torch,gpu,cuda,hors ligne</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>auto: for the NVIDIA GPU if there is one (about 3.2 GiB to download, 6.5 GiB on disk), else for the CPU (0.6 and 1.8 GiB). cpu, gpu: as you say. index: whatever the package index has, for a mirror.</source>
      <translation>auto : pour le GPU NVIDIA s'il y en a un (environ 3,2 Gio à télécharger, 6,5 Gio sur le disque), sinon pour le processeur (0,6 et 1,8 Gio). cpu, gpu : selon votre choix. index : ce qu'offre l'index de paquets, pour un miroir.</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>For a set-up without a network: a folder with the wheels of m3amba-geo and all that it needs. May also be a checkout, or the path of the m3amba-geo wheel. Empty: the package index.</source>
      <translation>Pour une installation sans réseau : un dossier avec les « wheels » de m3amba-geo et de tout ce qu'il demande. Peut aussi être une copie des sources, ou le chemin du wheel de m3amba-geo. Vide : l'index de paquets.</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>Python 3.11 to 3.13. Empty: one is looked for; where none is, uv downloads one into the folder of the profile.</source>
      <translation>Python 3.11 à 3.13. Vide : il est cherché ; s'il n'y en a pas, uv en télécharge un dans le dossier du profil.</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>Build</source>
      <translation>Variante</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>Folder of wheels</source>
      <translation>Dossier de wheels</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>Python to start from</source>
      <translation>Python de départ</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>Python of the backend</source>
      <translation>Python du moteur</translation>
    </message>
    <message>
      <location filename="../algorithms/setup.py" />
      <source>{} stays in use, since it is named in the settings or in M3AMBA_PYTHON.</source>
      <translation>{} reste utilisé, car il est indiqué dans les réglages ou dans M3AMBA_PYTHON.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Train a model with M3amba</source>
      <translation>Entraîner un modèle avec M3amba</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Learns land-cover classes from labelled places on one or several rasters of the same area, such as a multispectral image and a height model, and writes a model file.</source>
      <translation>Apprend des classes d'occupation du sol à partir de lieux étiquetés sur un ou plusieurs rasters de la même zone, par exemple une image multispectrale et un modèle de hauteur, et écrit un fichier de modèle.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>land cover,classification,deep learning,machine learning,mamba,training,fusion</source>
      <translation>occupation du sol,classification,apprentissage profond,apprentissage automatique,mamba,entraînement,fusion</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>0 to 1; whole polygons or blocks are kept.</source>
      <translation>De 0 à 1 ; les polygones ou blocs restent entiers.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>File with the trained network and all that classifying needs.</source>
      <translation>Fichier avec le réseau entraîné et tout ce que demande la classification.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Page with scores, classes, warnings and all settings.</source>
      <translation>Page avec scores, classes, avertissements et tous les réglages.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Each is a modality of its own, named by its layer, unless groups are given. The first one's grid is used; the others are warped onto it.</source>
      <translation>Chacun est une modalité, nommée d'après sa couche, sauf si des groupes sont donnés. La grille du premier est utilisée ; les autres y sont ramenés.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Polygons, lines or points with a class; any coordinate reference system.</source>
      <translation>Polygones, lignes ou points avec une classe ; tout système de coordonnées.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Puts files with one band each into one modality: a name for each raster, in order, such as vnir,vnir,vnir,height.</source>
      <translation>Réunit des fichiers d'une bande en une modalité : un nom pour chaque raster, dans l'ordre, par exemple vnir,vnir,vnir,hauteur.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Classes are named and coloured as in the categorised style of the class field.</source>
      <translation>Les classes ont les noms et les couleurs du style catégorisé du champ de classe.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Size of the network</source>
      <translation>Taille du réseau</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>tiny, small or base, the published one: larger ones need more labels, time and memory. auto chooses from the labels, bands and pixels.</source>
      <translation>tiny, small ou base, celui qui a été publié : un réseau plus grand demande plus d’étiquettes, de temps et de mémoire. auto choisit selon les étiquettes, les bandes et les pixels.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Guide</source>
      <translation>Guide (encodeur)</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Image encoder that guides the fusion: auto uses its weights if they are on this machine, clip may download them, none works without.</source>
      <translation>Encodeur d'images qui guide la fusion : auto prend ses poids s'ils sont sur cette machine, clip peut les télécharger, none s'en passe.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Image for the guide</source>
      <translation>Image pour le guide</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>How bands become the image that the guide sees: learned with the network, or pca, principal components: each place is then encoded once, and kept for the next training.</source>
      <translation>Comment les bandes deviennent l'image que voit le guide : learned l'apprend avec le réseau, pca prend les composantes principales : chaque endroit n'est alors encodé qu'une fois, et gardé pour le prochain entraînement.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Model to start from</source>
      <translation>Modèle de départ</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Local file with the weights of the image encoder.</source>
      <translation>Fichier local avec les poids de l'encodeur d'images.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Fine-tunes this model; its size, scaling and guide are kept.</source>
      <translation>Affine ce modèle ; sa taille, sa mise à l'échelle et son guide sont gardés.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Epochs</source>
      <translation>Époques</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>How often training visits each square of 8 x 8 pixels that holds a label; chosen by the number of these squares if left out.</source>
      <translation>Combien de fois l'entraînement visite chaque carré de 8 x 8 pixels qui contient une étiquette ; choisi d'après le nombre de ces carrés si vide.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Patches a step</source>
      <translation>Imagettes par étape</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Side of the patches</source>
      <translation>Côté des imagettes</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>In pixels, a multiple of 4; 32 if left out.</source>
      <translation>En pixels, un multiple de 4 ; 32 si vide.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Of everything random: the same seed, the same model.</source>
      <translation>De tout ce qui est aléatoire : la même graine, le même modèle.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Go on with an interrupted training</source>
      <translation>Reprendre un entraînement interrompu</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Takes up a training of the same data and settings that was cancelled.</source>
      <translation>Reprend un entraînement annulé, avec les mêmes données et réglages.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Split by</source>
      <translation>Partage par</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>What is never torn between training and validation: polygons or blocks; none trains on every label.</source>
      <translation>Ce qui n'est jamais partagé entre entraînement et validation : polygones ou blocs ; none entraîne sur toutes les étiquettes.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Share for validation</source>
      <translation>Part pour la validation</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Share that training never sees</source>
      <translation>Part que l'entraînement ne voit jamais</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Gap</source>
      <translation>Écart</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>Pixels between training and held-out labels; 16 if left out.</source>
      <translation>Pixels entre les étiquettes d'entraînement et celles mises de côté ; 16 si vide.</translation>
    </message>
    <message>
      <location filename="../algorithms/train.py" />
      <source>M3amba model (*.m3amba)</source>
      <translation>Modèle M3amba (*.m3amba)</translation>
    </message>
    <message>
      <location filename="../backend.py" />
      <source>Run “Set up M3amba” in the Processing toolbox, or name a Python that has m3amba-geo under Settings &gt; Options &gt; M3amba (or in the variable M3AMBA_PYTHON).</source>
      <translation>Lancez « Installer M3amba » dans la boîte à outils de traitements, ou indiquez un Python qui a m3amba-geo dans Préférences &gt; Options &gt; M3amba (ou dans la variable M3AMBA_PYTHON).</translation>
    </message>
    <message>
      <location filename="../backend.py" />
      <source>{} has m3amba-geo {}; the plugin is {}.</source>
      <translation>{} a m3amba-geo {} ; l'extension est {}.</translation>
    </message>
    <message>
      <location filename="../backend.py" />
      <source>Run “Set up M3amba” in the Processing toolbox, install m3amba-geo=={} there yourself, or install the plugin of that version.</source>
      <translation>Lancez « Installer M3amba » dans la boîte à outils de traitements, installez-y vous-même m3amba-geo=={}, ou installez l'extension de cette version.</translation>
    </message>
    <message>
      <location filename="../backend.py" />
      <source>{} is not a Python that can be run.</source>
      <translation>{} n'est pas un Python qui peut être lancé.</translation>
    </message>
    <message>
      <location filename="../backend.py" />
      <source>{} has no m3amba-geo.</source>
      <translation>{} n'a pas m3amba-geo.</translation>
    </message>
    <message>
      <location filename="../backend.py" />
      <source>M3amba is not set up yet.</source>
      <translation>M3amba n'est pas encore installé.</translation>
    </message>
    <message>
      <location filename="../backend.py" />
      <source>{} can't be started: {}.</source>
      <translation>{} ne peut pas être lancé : {}.</translation>
    </message>
    <message>
      <location filename="../model_file.py" />
      <source>{} is no model of m3amba-geo, or it is damaged.</source>
      <translation>{} n'est pas un modèle de m3amba-geo, ou il est endommagé.</translation>
    </message>
    <message>
      <location filename="../model_file.py" />
      <source>{} has format {}; this plugin reads {}. Update plugin and backend.</source>
      <translation>{} a le format {} ; cette extension lit {}. Mettez à jour l'extension et le moteur.</translation>
    </message>
    <message>
      <location filename="../model_file.py" />
      <source>{} ({} bands)</source>
      <translation>{} ({} bandes)</translation>
    </message>
    <message>
      <location filename="../model_file.py" />
      <source>{} can't be read: {}.</source>
      <translation>{} ne peut pas être lu : {}.</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>Python with m3amba-geo</source>
      <translation>Python avec m3amba-geo</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>Scratch folder</source>
      <translation>Dossier temporaire</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>Folder of the guide's weights</source>
      <translation>Dossier des poids du guide</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>In use: m3amba-geo {}, build {}, set up on {}</source>
      <translation>Utilisé : m3amba-geo {}, variante {}, installé le {}</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>Set up or repair…</source>
      <translation>Installer ou réparer…</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>Diagnose…</source>
      <translation>Diagnostiquer…</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>The one that set-up made</source>
      <translation>Celui que l'installation a fait</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>The system's own</source>
      <translation>Celui du système</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>That of your account</source>
      <translation>Celui de votre compte</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>In use: {}</source>
      <translation>Utilisé : {}</translation>
    </message>
    <message>
      <location filename="../options.py" />
      <source>The plugin is {}: run the set-up again.</source>
      <translation>L'extension est {} : relancez l'installation.</translation>
    </message>
    <message>
      <location filename="../plugin.py" />
      <source>The backend is not set up yet.</source>
      <translation>Le moteur n'est pas encore installé.</translation>
    </message>
    <message>
      <location filename="../plugin.py" />
      <source>Set up…</source>
      <translation>Installer…</translation>
    </message>
    <message>
      <location filename="../protocol.py" />
      <source>Lower the working memory, or the windows or patches a step; close other programs, choose a smaller size of the network, or use a machine with more memory.</source>
      <translation>Réduisez la mémoire de travail, ou les fenêtres ou imagettes par pas ; fermez d'autres programmes, choisissez un réseau plus petit, ou prenez une machine avec plus de mémoire.</translation>
    </message>
    <message>
      <location filename="../protocol.py" />
      <source>Install the plugin and m3amba-geo in the same version.</source>
      <translation>Installez l'extension et m3amba-geo dans la même version.</translation>
    </message>
    <message>
      <location filename="../protocol.py" />
      <source>See the last lines of its log.</source>
      <translation>Voir les dernières lignes de son journal.</translation>
    </message>
    <message>
      <location filename="../protocol.py" />
      <source>The backend was stopped before it could finish: probably out of memory ({}).</source>
      <translation>Le moteur a été arrêté avant d'avoir fini : sans doute par manque de mémoire ({}).</translation>
    </message>
    <message>
      <location filename="../protocol.py" />
      <source>The plugin can't understand the backend. {}</source>
      <translation>L'extension ne comprend pas le moteur. {}</translation>
    </message>
    <message>
      <location filename="../protocol.py" />
      <source>The backend stopped: {}.</source>
      <translation>Le moteur s'est arrêté : {}.</translation>
    </message>
    <message>
      <location filename="../provider.py" />
      <source>M3amba land-cover classification</source>
      <translation>Classification d'occupation du sol M3amba</translation>
    </message>
    <message>
      <location filename="../report.py" />
      <source>Validation</source>
      <translation>Validation (scores)</translation>
    </message>
    <message>
      <location filename="../report.py" />
      <source>Labelled pixels</source>
      <translation>Pixels étiquetés</translation>
    </message>
    <message>
      <location filename="../report.py" />
      <source>Classes</source>
      <translation>Classes (légende)</translation>
    </message>
    <message>
      <location filename="../report.py" />
      <source>Warnings</source>
      <translation>Avertissements</translation>
    </message>
    <message>
      <location filename="../report.py" />
      <source>Inputs and settings</source>
      <translation>Entrées et réglages</translation>
    </message>
    <message>
      <location filename="../report.py" />
      <source>Log</source>
      <translation>Journal</translation>
    </message>
    <message>
      <location filename="../report.py" />
      <source>These are the labels that decided when training stopped. Judge a map by labels that training has not seen: use “Assess a map”.</source>
      <translation>Ce sont les étiquettes qui ont décidé de l'arrêt de l'entraînement. Jugez une carte d'après des étiquettes que l'entraînement n'a pas vues : utilisez « Évaluer une carte ».</translation>
    </message>
    <message>
      <location filename="../report.py" />
      <source>No label was kept for validation, so there are no scores.</source>
      <translation>Aucune étiquette n'a été gardée pour la validation : il n'y a pas de scores.</translation>
    </message>
    <message>
      <location filename="../report.py" />
      <source>Training of {}</source>
      <translation>Entraînement de {}</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Cancelled: nothing was set up.</source>
      <translation>Annulé : rien n'a été installé.</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Looking for Python</source>
      <translation>Recherche de Python</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Making the environment</source>
      <translation>Création de l'environnement</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Installing packages</source>
      <translation>Installation des paquets</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Checking</source>
      <translation>Vérification</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>There is no Python 3.11 to 3.13 on this machine, and uv can't be had.</source>
      <translation>Il n'y a pas de Python 3.11 à 3.13 sur cette machine, et uv est introuvable.</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Install one of them (on Debian with python3-venv), and run the set-up again.</source>
      <translation>Installez-en un (sous Debian avec python3-venv), puis relancez l'installation.</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Check its permissions and the space on its disk.</source>
      <translation>Vérifiez ses droits et la place sur son disque.</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>M3amba {} is ready: {}</source>
      <translation>M3amba {} est prêt : {}</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Python {}, downloaded by uv</source>
      <translation>Python {}, téléchargé par uv</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Base: {}; installer: {}</source>
      <translation>Base : {} ; installateur : {}</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Without uv the build can't be chosen: the index decides.</source>
      <translation>Sans uv, la variante ne peut pas être choisie : l'index décide.</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>Removed {} half-made or outdated environments.</source>
      <translation>{} environnements inachevés ou périmés ont été supprimés.</translation>
    </message>
    <message>
      <location filename="../setup/environment.py" />
      <source>{} can't be written: {}.</source>
      <translation>{} ne peut pas être écrit : {}.</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>See the log.</source>
      <translation>Voir le journal.</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>Free some space and run the set-up again; finished downloads are kept.</source>
      <translation>Libérez de la place et relancez l'installation ; les téléchargements terminés sont gardés.</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>Check network and proxy (HTTPS_PROXY) and run the set-up again; finished downloads are kept. Behind a mirror of the index, choose the build “index”. Without a network, name a folder of wheels.</source>
      <translation>Vérifiez le réseau et le mandataire (HTTPS_PROXY) et relancez l'installation ; les téléchargements terminés sont gardés. Derrière un miroir de l'index, choisissez la variante « index ». Sans réseau, indiquez un dossier de wheels.</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>folder of wheels</source>
      <translation>dossier de wheels</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>package index</source>
      <translation>index de paquets</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>The page on QGIS in the documentation says how to fill a folder of wheels.</source>
      <translation>La page sur QGIS de la documentation dit comment remplir un dossier de wheels.</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>Name a folder of wheels, or the m3amba-geo wheel of the plugin's version.</source>
      <translation>Indiquez un dossier de wheels, ou le wheel de m3amba-geo de la version de l'extension.</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>The installation failed: {}</source>
      <translation>L'installation a échoué : {}</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>The disk is full: {}</source>
      <translation>Le disque est plein : {}</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>The package index can't be reached: {}</source>
      <translation>L'index de paquets est injoignable : {}</translation>
    </message>
    <message>
      <location filename="../setup/errors.py" />
      <source>A package is missing in the {}: {}</source>
      <translation>Un paquet manque ({}) : {}</translation>
    </message>
    <message>
      <location filename="../setup/folder.py" />
      <source>Another set-up of M3amba is at work.</source>
      <translation>Une autre installation de M3amba est en cours.</translation>
    </message>
    <message>
      <location filename="../setup/folder.py" />
      <source>Wait until it has ended, in every window of QGIS.</source>
      <translation>Attendez qu'elle se termine, dans toutes les fenêtres de QGIS.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Leave it empty to install from the package index.</source>
      <translation>Laissez vide pour installer depuis l'index de paquets.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Take the wheel of that version, or the plugin that belongs to the wheel.</source>
      <translation>Prenez le wheel de cette version, ou l'extension qui va avec le wheel.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Build of torch: the one in the folder of wheels.</source>
      <translation>Variante de torch : celle du dossier de wheels.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Build of torch: CPU, since no NVIDIA GPU was found.</source>
      <translation>Variante de torch : processeur, car aucun GPU NVIDIA n'a été trouvé.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Free some space, or choose the CPU build, which is smaller.</source>
      <translation>Libérez de la place, ou choisissez la variante cpu, plus petite.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>{} is no wheel of m3amba-geo, no checkout of it, and no folder with its wheel.</source>
      <translation>{} n'est ni un wheel de m3amba-geo, ni une copie de ses sources, ni un dossier avec son wheel.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>{} does not hold m3amba-geo {}, which this plugin needs.</source>
      <translation>{} ne contient pas m3amba-geo {}, que demande cette extension.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Build of torch: CPU, as you chose.</source>
      <translation>Variante de torch : processeur, selon votre choix.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Build of torch: for this machine's GPU, as you chose.</source>
      <translation>Variante de torch : pour le GPU de cette machine, selon votre choix.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Build of torch: whatever the package index has, as you chose.</source>
      <translation>Variante de torch : ce qu'offre l'index de paquets, selon votre choix.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Download: about {:.1f} GiB; on disk: about {:.1f} GiB.</source>
      <translation>Téléchargement : environ {:.1f} Gio ; sur le disque : environ {:.1f} Gio.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Nothing is downloaded: all comes from {}. On disk: about {:.1f} GiB.</source>
      <translation>Rien n'est téléchargé : tout vient de {}. Sur le disque : environ {:.1f} Gio.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>To install: {}.</source>
      <translation>À installer : {}.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>Build of torch: CUDA, for {}.</source>
      <translation>Variante de torch : CUDA, pour {}.</translation>
    </message>
    <message>
      <location filename="../setup/plan.py" />
      <source>{:.1f} GiB are free in {}; the set-up needs about {:.1f} GiB.</source>
      <translation>{:.1f} Gio sont libres dans {} ; l'installation demande environ {:.1f} Gio.</translation>
    </message>
    <message>
      <location filename="../setup/pythons.py" />
      <source>Name another one, or none: set-up finds one or downloads it.</source>
      <translation>Indiquez-en un autre, ou aucun : l'installation en trouve un ou le télécharge.</translation>
    </message>
    <message>
      <location filename="../setup/pythons.py" />
      <source>{} is not a Python {} to {} of 64 bits.</source>
      <translation>{} n'est pas un Python {} à {} de 64 bits.</translation>
    </message>
  </context>
</TS>
