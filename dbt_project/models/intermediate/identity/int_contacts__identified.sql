-- A contact is a person at a customer, known in the product, the CRM or both, by one address or several.
with

product_users as (

    select * from {{ ref('int_product_users__identified') }}

),

crm_contacts as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__contacts', 'salesforce': 'stg_salesforce__contacts'},
        {
            'crm_contact_id': dbt.type_string(),
            'company_id': dbt.type_string(),
            'email': dbt.type_string(),
            'first_name': dbt.type_string(),
            'last_name': dbt.type_string(),
            'job_title': dbt.type_string(),
            'buying_role': dbt.type_string(),
            'language': dbt.type_string(),
            'country': dbt.type_string(),
            'time_zone': dbt.type_string(),
            'has_opted_out': 'boolean',
            'legal_basis': dbt.type_string(),
            'created_at': dbt.type_timestamp(),
        },
        {
            'hubspot': {'crm_contact_id': 'hubspot_contact_id', 'company_id': 'hubspot_company_id'},
            'salesforce': {
                'crm_contact_id': 'salesforce_contact_id',
                'company_id': 'salesforce_account_id',
                'buying_role': 'null',
                'language': 'null',
                'time_zone': 'null',
                'legal_basis': 'null',
            },
        },
    ) }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

-- one row for each company of a CRM that a customer is
crm_companies as (

    select
        customer_id,
        'hubspot' as source_name,
        hubspot_company_id as company_id
    from customers

    union all

    select
        customer_id,
        'salesforce' as source_name,
        salesforce_account_id as company_id
    from customers

),

requesters as (

    select *
    from {{ sources_union(
        {'zendesk': 'stg_zendesk__users', 'intercom': 'stg_intercom__contacts'},
        {
            'requester_id': dbt.type_string(),
            'email': dbt.type_string(),
            'created_at': dbt.type_timestamp(),
        },
        {'zendesk': {'requester_id': 'zendesk_user_id'}, 'intercom': {'requester_id': 'intercom_contact_id'}},
    ) }}

),

links as (

    select * from {{ ref('int_contact_links') }}

),

-- every address belongs to one person
addresses as (

    select
        email,
        min(contact_id) as contact_id,
        min(first_seen_at) as first_seen_at
    from links
    where
        is_kept
        and record_kind <> 'cookie'
    group by email

),

-- the login used last stands for a person with several
ranked_users as (

    select
        product_users.*,
        addresses.first_seen_at as address_seen_at,
        row_number() over (
            partition by product_users.contact_id
            order by product_users.last_identified_at desc, product_users.user_id desc
        ) as recency
    from product_users
    inner join addresses
        on product_users.email = addresses.email
    where
        product_users.customer_id is not null
        and product_users.contact_id is not null

),

-- the oldest record of each CRM, HubSpot's before Salesforce's
ranked_crm_contacts as (

    select
        crm_contacts.*,
        crm_companies.customer_id,
        addresses.contact_id,
        addresses.first_seen_at as address_seen_at,
        max(case when crm_contacts.has_opted_out then 1 else 0 end) over (
            partition by addresses.contact_id
        ) as opted_out_anywhere,
        row_number() over (
            partition by addresses.contact_id
            order by crm_contacts.source_name, crm_contacts.created_at, crm_contacts.crm_contact_id
        ) as seniority
    from crm_contacts
    inner join addresses
        on crm_contacts.email = addresses.email
    inner join crm_companies
        on
            crm_contacts.source_name = crm_companies.source_name
            and crm_contacts.company_id = crm_companies.company_id

),

requester_ids as (

    select
        addresses.contact_id,
        requesters.source_name,
        requesters.requester_id,
        row_number() over (
            partition by addresses.contact_id, requesters.source_name
            order by requesters.created_at, requesters.requester_id
        ) as seniority
    from requesters
    inner join addresses
        on requesters.email = addresses.email

),

crm_ids as (

    select
        contact_id,
        min(case when source_name = 'salesforce' then crm_contact_id end) as salesforce_contact_id
    from ranked_crm_contacts
    group by contact_id

),

people as (

    select contact_id from ranked_users

    union distinct

    select contact_id from ranked_crm_contacts

),

final as (

    select
        people.contact_id,
        -- the workspace a person works in says more than the company a form put them under
        coalesce(ranked_users.customer_id, ranked_crm_contacts.customer_id) as customer_id,
        ranked_users.user_id,
        case when ranked_crm_contacts.source_name = 'hubspot' then ranked_crm_contacts.crm_contact_id end as hubspot_contact_id,
        crm_ids.salesforce_contact_id,
        by_zendesk.requester_id as zendesk_user_id,
        by_intercom.requester_id as intercom_contact_id,
        -- the address taken up last, of those in use
        case
            when ranked_crm_contacts.address_seen_at > ranked_users.address_seen_at then ranked_crm_contacts.email
            else coalesce(ranked_users.email, ranked_crm_contacts.email)
        end as email,
        ranked_crm_contacts.first_name,
        ranked_crm_contacts.last_name,
        coalesce(
            ranked_users.full_name,
            {{ dbt.concat(['ranked_crm_contacts.first_name', "' '", 'ranked_crm_contacts.last_name']) }}
        ) as full_name,
        coalesce(ranked_users.job_title, ranked_crm_contacts.job_title) as job_title,
        ranked_users.product_role,
        ranked_crm_contacts.buying_role,
        case
            when coalesce(ranked_crm_contacts.language, lower(ranked_users.locale)) like 'ja%' then 'ja'
            else 'en'
        end as language,
        coalesce(ranked_users.time_zone, ranked_crm_contacts.time_zone) as time_zone,
        ranked_crm_contacts.country,
        coalesce(ranked_crm_contacts.opted_out_anywhere = 1, false) as has_opted_out,
        ranked_crm_contacts.legal_basis,
        coalesce(ranked_users.first_seen_at, ranked_crm_contacts.created_at) as created_at
    from people
    left join ranked_users
        on
            people.contact_id = ranked_users.contact_id
            and ranked_users.recency = 1
    left join ranked_crm_contacts
        on
            people.contact_id = ranked_crm_contacts.contact_id
            and ranked_crm_contacts.seniority = 1
    left join crm_ids
        on people.contact_id = crm_ids.contact_id
    left join requester_ids as by_zendesk
        on
            people.contact_id = by_zendesk.contact_id
            and by_zendesk.source_name = 'zendesk'
            and by_zendesk.seniority = 1
    left join requester_ids as by_intercom
        on
            people.contact_id = by_intercom.contact_id
            and by_intercom.source_name = 'intercom'
            and by_intercom.seniority = 1

)

select * from final
