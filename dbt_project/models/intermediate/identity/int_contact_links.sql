-- Which records of other systems are one person: those that share an address, also by way of others, within bounded rounds.
-- The person is known by the oldest address. A claim that would join people of two customers is kept apart and listed.
{% set rounds = 3 %}
with

addresses as (

    select * from {{ ref('int_contact_addresses') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

memberships as (

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

pages as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__pages', 'posthog': 'stg_posthog__page_views'},
        {'anonymous_id': dbt.type_string(), 'user_id': dbt.type_string(), 'occurred_at': dbt.type_timestamp()},
    ) }}

),

identifies as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__identifies', 'posthog': 'stg_posthog__identifies'},
        {'anonymous_id': dbt.type_string(), 'user_id': dbt.type_string(), 'occurred_at': dbt.type_timestamp()},
    ) }}

),

ranked_memberships as (

    select
        memberships.user_id,
        customers.customer_id,
        row_number() over (
            partition by memberships.user_id
            order by memberships.occurred_at desc, memberships.group_call_id desc
        ) as recency
    from memberships
    left join customers
        on memberships.workspace_id = customers.workspace_id

),

-- the address belongs to the customer of the product user who took it up last
claims as (

    select
        addresses.record_kind,
        addresses.record_id,
        addresses.email,
        addresses.first_seen_at,
        ranked_memberships.customer_id,
        first_value(ranked_memberships.customer_id) over (
            partition by addresses.email
            order by
                case when ranked_memberships.customer_id is null then 1 else 0 end,
                addresses.first_seen_at desc,
                addresses.record_id
            rows between unbounded preceding and unbounded following
        ) as address_customer_id
    from addresses
    left join ranked_memberships
        on
            addresses.record_kind = 'product_user'
            and addresses.record_id = ranked_memberships.user_id
            and ranked_memberships.recency = 1

),

-- a contact of the CRM that moved to another customer does not join the people at its old and new address
dated as (

    select
        claims.*,
        first_value(address_customer_id) over (
            partition by record_kind, record_id
            order by first_seen_at desc, email
            rows between unbounded preceding and unbounded following
        ) as record_customer_id
    from claims

),

judged as (

    select
        record_kind,
        record_id,
        email,
        first_seen_at,
        case
            when customer_id <> address_customer_id then 'an address of two customers'
            when address_customer_id <> record_customer_id then 'a record of two customers'
        end as conflict_reason
    from dated

),

round_0 as (

    select
        email,
        row_number() over (order by min(first_seen_at), email) as person
    from judged
    group by email

),

{% for round in range(1, rounds + 1) %}
-- records take the oldest person of their addresses, addresses that of their records
records_{{ round }} as (

    select
        judged.record_kind,
        judged.record_id,
        min(round_{{ round - 1 }}.person) as person
    from judged
    inner join round_{{ round - 1 }}
        on judged.email = round_{{ round - 1 }}.email
    where judged.conflict_reason is null
    group by judged.record_kind, judged.record_id

),

round_{{ round }} as (

    select
        judged.email,
        min(records_{{ round }}.person) as person
    from judged
    inner join records_{{ round }}
        on
            judged.record_kind = records_{{ round }}.record_kind
            and judged.record_id = records_{{ round }}.record_id
    where judged.conflict_reason is null
    group by judged.email

),

{% endfor %}
people as (

    select
        round_{{ rounds }}.email,
        {{ hashed_id(["'contact'", 'oldest.email']) }} as contact_id
    from round_{{ rounds }}
    inner join round_0 as oldest
        on round_{{ rounds }}.person = oldest.person

),

consented as (

    select *
    from {{ ref('int_cookies__consented') }}
    where has_analytics_consent

),

cookie_users as (

    select distinct
        anonymous_id,
        user_id
    from pages
    where
        anonymous_id is not null
        and user_id is not null

    union distinct

    select distinct
        anonymous_id,
        user_id
    from identifies
    where
        anonymous_id is not null
        and user_id is not null

),

-- the address that the user has now
cookies as (

    select
        cookie_users.anonymous_id,
        cookie_users.user_id,
        judged.email,
        judged.first_seen_at,
        people.contact_id,
        consented.anonymous_id is not null as has_consent,
        min(people.contact_id) over (partition by cookie_users.anonymous_id) as first_contact_id,
        max(people.contact_id) over (partition by cookie_users.anonymous_id) as last_contact_id,
        row_number() over (
            partition by cookie_users.anonymous_id, cookie_users.user_id
            order by judged.first_seen_at desc, judged.email
        ) as recency
    from cookie_users
    inner join judged
        on
            cookie_users.user_id = judged.record_id
            and judged.record_kind = 'product_user'
            and judged.conflict_reason is null
    inner join people
        on judged.email = people.email
    left join consented
        on cookie_users.anonymous_id = consented.anonymous_id

),

final as (

    select
        people.contact_id,
        judged.record_kind,
        judged.record_id,
        judged.email,
        'has the address' as rule,
        judged.email as evidence,
        judged.conflict_reason,
        judged.conflict_reason is null as is_kept,
        judged.first_seen_at
    from judged
    inner join people
        on judged.email = people.email

    union all

    select
        contact_id,
        'cookie' as record_kind,
        anonymous_id as record_id,
        email,
        'logged in with it' as rule,
        user_id as evidence,
        case
            when first_contact_id <> last_contact_id then 'a cookie of several people'
            when not has_consent then 'no consent to analytics'
        end as conflict_reason,
        first_contact_id = last_contact_id and has_consent as is_kept,
        first_seen_at
    from cookies
    where recency = 1

)

select * from final
