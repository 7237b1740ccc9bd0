-- What each product user last said of themselves, and the customer whose workspace they last joined.
with

identifies as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__identifies', 'posthog': 'stg_posthog__identifies'},
        {
            'identify_id': dbt.type_string(),
            'user_id': dbt.type_string(),
            'email': dbt.type_string(),
            'full_name': dbt.type_string(),
            'job_title': dbt.type_string(),
            'product_role': dbt.type_string(),
            'locale': dbt.type_string(),
            'time_zone': dbt.type_string(),
            'occurred_at': dbt.type_timestamp(),
        },
    ) }}

),

groups as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__groups', 'posthog': 'stg_posthog__groups'},
        {
            'group_call_id': dbt.type_string(),
            'user_id': dbt.type_string(),
            'workspace_id': dbt.type_string(),
            'occurred_at': dbt.type_timestamp(),
        },
    ) }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

links as (

    select * from {{ ref('int_contact_links') }}

),

ranked_identifies as (

    select
        identifies.*,
        row_number() over (
            partition by user_id
            order by occurred_at desc, identify_id desc
        ) as recency
    from identifies
    where
        user_id is not null
        and email is not null

),

ranked_groups as (

    select
        groups.*,
        row_number() over (
            partition by user_id
            order by occurred_at desc, group_call_id desc
        ) as recency
    from groups
    where user_id is not null

),

-- whoever said who they are or joined a workspace; what they do there counts for its customer either way
users as (

    select
        user_id,
        min(identified_at) as first_seen_at
    from (
        select
            user_id,
            occurred_at as identified_at
        from identifies
        where user_id is not null

        union all

        select
            user_id,
            cast(null as {{ dbt.type_timestamp() }}) as identified_at
        from ranked_groups
        where recency = 1
    ) as seen
    group by user_id

),

final as (

    select
        users.user_id,
        links.contact_id,
        customers.customer_id,
        ranked_identifies.email,
        ranked_identifies.full_name,
        ranked_identifies.job_title,
        ranked_identifies.product_role,
        ranked_identifies.locale,
        ranked_identifies.time_zone,
        users.first_seen_at,
        ranked_identifies.occurred_at as last_identified_at
    from users
    left join ranked_identifies
        on
            users.user_id = ranked_identifies.user_id
            and ranked_identifies.recency = 1
    left join ranked_groups
        on
            users.user_id = ranked_groups.user_id
            and ranked_groups.recency = 1
    left join customers
        on ranked_groups.workspace_id = customers.workspace_id
    -- none for a user whose address is another customer's user's by now
    left join links
        on
            ranked_identifies.user_id = links.record_id
            and ranked_identifies.email = links.email
            and links.record_kind = 'product_user'
            and links.is_kept

)

select * from final
