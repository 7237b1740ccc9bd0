{#
    What lets usage grow by the day: only days that something happened to are counted again, and they are replaced
    whole, so that a late event, a build repeated and a clock turned back all end in the same table.
#}

{#
    The days that an incremental build counts again, as a list of dates; none where all are counted (first build,
    full refresh, table of an older version). A day is counted again when

      - events of it arrived since the last build; as loaders do not land in the order of arrival, everything that
        arrived in the `usage_lookback_days` before is looked at once more
      - something counted arrived only after the clock, because the clock was turned back
      - it is attributed otherwise now: a workspace found its customer, a user a contact, an event its feature

    arrivals  subselect of events as they arrived: user_id, workspace_id, event_name, occurred_at, received_at
#}
{% macro usage_days_to_count(arrivals) -%}
    {%- if not is_incremental() or not execute -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set columns = adapter.get_columns_in_relation(this) | map(attribute='name') | list -%}
    {%- if 'known_date' not in columns -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set looked_until -%}
        select {{ dbt.dateadd('day', '-1 * cast(' ~ threshold('usage_lookback_days') ~ ' as integer)', 'max(last_received_at)') }}
        from {{ this }}
    {%- endset -%}
    {%- set since = run_query(looked_until).columns[0].values()[0] -%}
    {%- if since is none -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set days -%}
        select cast(occurred_at as date) as usage_date
        from {{ arrivals }}
        where received_at > cast('{{ since }}' as {{ dbt.type_timestamp() }})

        union distinct

        select usage_date
        from {{ this }}
        where last_received_at > {{ as_of_at() }}

        union distinct

        select counted.usage_date
        from {{ this }} as counted
        inner join (
            {{ usage_attributed('(' ~ counted_by_whom() ~ ')') }}
        ) as present
            on
                coalesce(counted.user_id, '') = coalesce(present.user_id, '')
                and coalesce(counted.workspace_id, '') = coalesce(present.workspace_id, '')
        where
            present.least_customer_id <> coalesce(present.customer_id, '')
            or present.greatest_customer_id <> coalesce(present.customer_id, '')
            or present.least_contact_id <> coalesce(present.contact_id, '')
            or present.greatest_contact_id <> coalesce(present.contact_id, '')

        union distinct

        select counted.usage_date
        from {{ this }} as counted
        left join {{ ref('features') }} as features
            on counted.event_name = features.event
        where
            counted.feature <> coalesce(features.feature, 'app')
            or coalesce(counted.module, '') <> coalesce(features.module, '')
            or counted.is_key_feature <> coalesce(features.is_key, false)
            or counted.is_first_value <> coalesce(features.is_first_value, false)
    {%- endset -%}
    {{ return(run_query(days).columns[0].values() | sort) }}
{%- endmacro %}

{# The users and workspaces of what was counted, with the least and the greatest that their use was attributed to. #}
{% macro counted_by_whom() -%}
    select
        user_id,
        workspace_id,
        cast(null as {{ dbt.type_string() }}) as event_name,
        min(coalesce(customer_id, '')) as least_customer_id,
        max(coalesce(customer_id, '')) as greatest_customer_id,
        min(coalesce(contact_id, '')) as least_contact_id,
        max(coalesce(contact_id, '')) as greatest_contact_id
    from {{ this }}
    group by
        user_id,
        workspace_id
{%- endmacro %}

{#
    A condition that an instant lies on one of some days, as ranges, so that an engine can skip what lies elsewhere.
    No list means every day, an empty one none.
#}
{% macro on_days(instant, days) -%}
    {%- if days is none -%}
        {{ return('1 = 1') }}
    {%- elif not days -%}
        {{ return('1 = 0') }}
    {%- endif -%}
    {%- set one_day = modules.datetime.timedelta(days=1) -%}
    {%- set ranges = [] -%}
    {%- for day in days -%}
        {%- if ranges and ranges[-1][1] == day -%}
            {%- do ranges.append((ranges.pop()[0], day + one_day)) -%}
        {%- else -%}
            {%- do ranges.append((day, day + one_day)) -%}
        {%- endif -%}
    {%- endfor -%}
    (
        {%- for first_day, next_day in ranges %}
        {{ 'or ' if not loop.first }}(
            {{ instant }} >= cast('{{ first_day }}' as {{ dbt.type_timestamp() }})
            and {{ instant }} < cast('{{ next_day }}' as {{ dbt.type_timestamp() }})
        )
        {%- endfor %}
    )
{%- endmacro %}

{#
    Rows of user_id, workspace_id and event_name with whose usage that is and of what. The workspace on the event says
    whose it is; without one, the user's customer. An event that belongs to no feature counts under `app`.
#}
{% macro usage_attributed(counted) -%}
    select
        counted.*,
        coalesce(customers.customer_id, product_users.customer_id) as customer_id,
        product_users.contact_id,
        coalesce(features.feature, 'app') as feature,
        features.module,
        coalesce(features.is_key, false) as is_key_feature,
        coalesce(features.is_first_value, false) as is_first_value
    from {{ counted }} as counted
    left join {{ ref('int_customers__identified') }} as customers
        on counted.workspace_id = customers.workspace_id
    left join {{ ref('int_product_users__identified') }} as product_users
        on counted.user_id = product_users.user_id
    left join {{ ref('features') }} as features
        on counted.event_name = features.event
{%- endmacro %}

{#
    The incremental strategy `replace_days`: days that were counted again (unique_key names the column) give way to
    what was counted now, and what only arrived after the clock leaves.
#}
{% macro get_incremental_replace_days_sql(arg_dict) -%}
    {%- set day = arg_dict.unique_key -%}
    {%- set columns = get_quoted_csv(arg_dict.dest_columns | map(attribute='name')) -%}
    delete from {{ arg_dict.target_relation }}
    where
        {{ day }} in (select {{ day }} from {{ arg_dict.temp_relation }})
        or last_received_at > {{ as_of_at() }};

    insert into {{ arg_dict.target_relation }} ({{ columns }})
    select {{ columns }}
    from {{ arg_dict.temp_relation }}
{%- endmacro %}
