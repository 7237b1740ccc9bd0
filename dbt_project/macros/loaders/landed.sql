{#
    What a loader landed, in one shape: a subselect of the named columns, whichever loader of the source is
    configured (vars.sources.<source>.loader). macros/loaders/<source>.sql says what is called what; staging reads
    no raw table in another way. Beside the named columns it has

        _landed_at   when the loader landed the row; any spelling that utc_timestamp reads
        _is_deleted  whether the loader says that the source deleted it; never null

    A column that was not landed is null: dlt makes none for a field that was always empty, other loaders none for a
    field that is not in use. A source switched off (vars.sources.<source>.enabled) has no rows, and so has an
    `optional` table that was not landed; without one that is not, a build says which and stops. Columns nobody names
    are not read. Whatever type a column landed with, here it is text, but for times, truths and nested values; ids
    are `clean_id`.

    source_name  entry of vars.sources; its tables are declared under raw_<source_name>
    table        the declared name of the table
    columns      names, or a mapping from name to the API's path (`price.id`, several as `price.id|plan.id`, the
                 first that is filled counts)
    instead      names of a table that may be there in place of the declared one
    parent       {table, key}: where dlt lands the rows as children of another table's, that table and the column
                 that takes its id
#}
{% macro landed(source_name, table, columns, instead=[], optional=false, parent=none) -%}
    {%- set paths = columns if columns is mapping else dict(zip(columns, columns)) -%}
    {%- set raw = landed_table(source_name, table, instead) -%}
    {%- set parent_raw = landed_table(source_name, parent.table) if parent and raw.loader == 'dlt' -%}
    {%- set is_child = parent_raw and raw.columns is not none and '_dlt_parent_id' in raw.columns -%}
    {%- if raw.is_missing and not optional and not parent_raw and flags.WHICH in ('run', 'build', 'test') -%}
        {%- do exceptions.raise_compiler_error(
            raw.relation ~ " was not landed. Land it, or switch the source off: vars.sources." ~ source_name
            ~ ".enabled in dbt_project/dbt_project.yml."
        ) -%}
    {%- endif -%}
    {%- if not raw.enabled or (raw.is_missing and (optional or parent_raw)) -%}
    (
        select
            {%- for name in paths %}
            cast(null as {{ dbt.type_string() }}) as {{ adapter.quote(name) }},
            {%- endfor %}
            cast(null as {{ dbt.type_string() }}) as _landed_at,
            cast(null as boolean) as _is_deleted
        where 1 = 0
    ) as landed
    {%- else -%}
    (
        select
            {%- for name, path in paths.items() %}
            {%- set value = landed_column(raw, name, path) %}
            {%- if is_child and name == parent.key %}
            {{ clean_id('parents.id') }} as {{ adapter.quote(name) }},
            {%- else %}
            {{ value or 'cast(null as ' ~ dbt.type_string() ~ ')' }} as {{ adapter.quote(name) }},
            {%- endif %}
            {%- endfor %}
            {{ landed_at(raw, is_child) }} as _landed_at,
            {{ landed_deletion(raw) }} as _is_deleted
        -- dbt writes a relation with an alias of its own in a run with --empty
        from (select * from {{ raw.relation }}) as raw_rows
        {%- if is_child %}
        -- children of the row of their parent that was landed last; one whose parent was not landed has none
        left join (
            select
                id,
                _dlt_id,
                _dlt_load_id,
                row_number() over (partition by id order by _dlt_load_id desc) as load_rank
            from {{ parent_raw.relation }}
        ) as parents
            on raw_rows._dlt_parent_id = parents._dlt_id
        {%- endif %}
        {%- if raw.loads %}
        left join (
            select
                load_id,
                max(inserted_at) as inserted_at
            from {{ raw.loads }}
            group by load_id
        ) as loads
            on {{ 'parents' if is_child else 'raw_rows' }}._dlt_load_id = loads.load_id
        {%- endif %}
        {%- if is_child %}
        where coalesce(parents.load_rank, 1) = 1
        {%- endif %}
    ) as landed
    {%- endif -%}
{%- endmacro %}

{#
    A declared raw table as it was landed: relation, columns (lower-case name to name), loader. Before it was landed
    (when dbt only parses or lints) columns is none, and whoever runs it hears from the warehouse which table is missing.
#}
{% macro landed_table(source_name, table, instead=[]) -%}
    {%- set settings = var('sources')[source_name] -%}
    {#- Segment, RudderStack and PostHog land their events themselves -#}
    {%- set loaders = ['fivetran', 'dlt', 'airbyte', 'segment', 'rudderstack', 'posthog'] -%}
    {%- if settings.loader not in loaders -%}
        {%- do exceptions.raise_compiler_error(
            "dbt_project.yml: vars.sources." ~ source_name ~ ".loader is '" ~ settings.loader
            ~ "'; write one of " ~ loaders | join(', ') ~ "."
        ) -%}
    {%- endif -%}
    {%- if not settings.enabled -%}
        {{ return({'enabled': false, 'loader': settings.loader}) }}
    {%- endif -%}
    {%- set declared = source('raw_' ~ source_name, table) -%}
    {%- set raw = {'enabled': true, 'loader': settings.loader, 'relation': declared, 'columns': none, 'is_missing': execute} -%}
    {%- if execute -%}
        {# a unit test puts its rows, in Fivetran's shape, in the place of the table; only the table tells its columns #}
        {%- set name = table if declared.is_cte else declared.identifier -%}
        {%- set place = {'database': declared.database or target.database, 'schema': settings.schema} -%}
        {%- for identifier in [name, '_airbyte_raw_' ~ name] + instead -%}
            {%- set found = adapter.get_relation(identifier=identifier, **place) if raw.is_missing -%}
            {%- if found -%}
                {%- set names = {} -%}
                {%- set types = {} -%}
                {%- for column in adapter.get_columns_in_relation(found) -%}
                    {# the first heading of a file may begin with a byte-order mark #}
                    {%- set plain = column.name | lower | replace('\ufeff', '') | trim -%}
                    {%- do names.update({plain: column.name}) -%}
                    {%- do types.update({plain: column.data_type | lower}) -%}
                {%- endfor -%}
                {%- do raw.update({'columns': names, 'types': types, 'is_missing': false}) -%}
                {%- do raw.update({'relation': declared if identifier == name else found}) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if raw.loader == 'dlt' -%}
            {# dlt's own table of loads lies beside every table it lands #}
            {%- set loads = adapter.get_relation(identifier='_dlt_loads', **place) -%}
            {%- do raw.update({'loads': loads}) -%}
        {%- endif -%}
    {%- endif -%}
    {{ return(raw) }}
{%- endmacro %}

{#
    The expression that reads a field, or none where it was not landed. Fivetran flattens `price.id` to `price_id` and
    has names of its own, dlt to `price__id`, Airbyte keeps JSON in `price`; each may keep JSON where others flatten.
#}
{% macro landed_column(raw, name, path) -%}
    {%- set separator = '__' if raw.loader == 'dlt' else '_' -%}
    {%- set found = [] -%}
    {%- set match_types = {} -%}
    {%- for candidate in ([] if raw.loader in ('dlt', 'airbyte') else [name]) + path.split('|') -%}
        {%- set parts = candidate.split('.') -%}
        {%- set match = namespace(value=none) -%}
        {%- for length in range(parts | length, 0, -1) -%}
            {%- set column = parts[:length] | join(separator) -%}
            {%- if match.value is none and (raw.columns is none or column in raw.columns) -%}
                {%- set quoted = 'raw_rows.' ~ adapter.quote((raw.columns or {}).get(column, column)) -%}
                {%- set rest = parts[length:] | join('.') -%}
                {%- set match.value = json_path_text(quoted, rest) if rest else quoted -%}
                {%- do match_types.update({match.value: 'text' if rest else (raw.types or {}).get(column)}) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if match.value is none and '_airbyte_data' in (raw.columns or {}) -%}
            {%- set match.value = json_path_text('raw_rows._airbyte_data', candidate) -%}
        {%- endif -%}
        {%- if match.value and match.value not in found -%}
            {%- do found.append(match.value) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set values = [] -%}
    {%- for value in found -%}
        {%- do values.append(
            clean_id(value, match_types.get(value)) if name in ('id', 'uuid') or name.endswith(('_id', '_id_c', 'companyid'))
            else value if found | length == 1 and keeps_type(match_types.get(value))
            else 'cast(' ~ value ~ ' as ' ~ dbt.type_string() ~ ')'
        ) -%}
    {%- endfor -%}
    {%- if values | length > 1 -%}
        {{ return('coalesce(' ~ values | join(', ') ~ ')') }}
    {%- endif -%}
    {{ return(values | first if values else none) }}
{%- endmacro %}

{#
    Whether a raw type is read as it landed: text already, or one that staging's casts tell by its type. Any other is
    text from here on: a column that was always empty lands with whatever type its loader fancied.
#}
{% macro keeps_type(type) -%}
    {%- set kept = namespace(value=type is none) -%}
    {%- for word in ('varchar', 'text', 'string', 'char', 'timestamp', 'date', 'bool', 'struct', 'json', '[', 'map') -%}
        {%- if type is not none and word in type -%}
            {%- set kept.value = true -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(kept.value) }}
{%- endmacro %}

{#
    When the row was landed: Fivetran and Airbyte write it in the row, dlt keeps one row for each load. Other tools have
    `_loaded_at`, Segment and RudderStack when the event arrived.
#}
{% macro landed_at(raw, is_child=false) -%}
    {%- set columns = raw.columns or {} -%}
    {%- if raw.loader == 'dlt' and (is_child or '_dlt_load_id' in columns) -%}
        {# a load's id is the epoch second it began in #}
        {%- set load_id = ('parents' if is_child else 'raw_rows') ~ '._dlt_load_id' -%}
        {{ return('coalesce(cast(loads.inserted_at as ' ~ dbt.type_string() ~ '), ' ~ load_id ~ ')' if raw.loads else load_id) }}
    {%- endif -%}
    {%- set names = ('_fivetran_synced', '_airbyte_extracted_at', '_airbyte_emitted_at', '_loaded_at', 'received_at') -%}
    {%- for name in names if name in columns -%}
        {{ return('raw_rows.' ~ adapter.quote(columns[name])) }}
    {%- endfor -%}
    {{ return('cast(null as ' ~ dbt.type_string() ~ ')') }}
{%- endmacro %}

{# Whether the row says that the source deleted it. dlt says nothing: after a replace the row is not there. #}
{% macro landed_deletion(raw) -%}
    {%- set said = [] -%}
    {%- for name in ('is_deleted', '_fivetran_deleted', 'deleted') if name in (raw.columns or {}) -%}
        {%- do said.append('coalesce(' ~ true_or_false('raw_rows.' ~ adapter.quote(raw.columns[name])) ~ ', false)') -%}
    {%- endfor -%}
    {%- if raw.loader == 'airbyte' and 'deleted_at' in (raw.columns or {}) -%}
        {%- do said.append('raw_rows.' ~ adapter.quote(raw.columns.deleted_at) ~ ' is not null') -%}
    {%- endif -%}
    {%- if '_airbyte_data' in (raw.columns or {}) -%}
        {%- do said.append('coalesce(' ~ true_or_false(json_path_text('raw_rows._airbyte_data', 'is_deleted')) ~ ', false)') -%}
        {%- do said.append(json_path_text('raw_rows._airbyte_data', 'deleted_at') ~ ' is not null') -%}
    {%- endif -%}
    {{ return(said | join(' or ') if said else 'false') }}
{%- endmacro %}
